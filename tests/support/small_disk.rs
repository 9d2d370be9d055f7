//! A disk that gets full.

use std::path::PathBuf;
use std::process::Command;

/// A file system of a size that holds a partition once, but not twice, as replacing it needs; unmounted when dropped.
pub struct SmallDisk {
    pub dir: PathBuf,
}

impl SmallDisk {
    /// The reason if there can't be one here.
    pub fn mount(dir: PathBuf) -> Result<SmallDisk, String> {
        std::fs::create_dir(&dir).map_err(|e| e.to_string())?;
        let owner = |what| std::env::var(what).unwrap_or_else(|_| "0".to_owned());
        let (user, group) = (owner("CGPSYNC_TEST_UID"), owner("CGPSYNC_TEST_GID"));
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size=1200k,mode=700,uid={user},gid={group}"))
            .arg("tmpfs")
            .arg(&dir)
            .output();
        match status {
            Ok(output) if output.status.success() => Ok(SmallDisk { dir }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: some process of the server may have a file open still.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
