//! What the environment asks for.

use std::path::PathBuf;

/// Size of the data unless SCALE says otherwise: everything, in three rounds, takes less than ten minutes on two cores.
const DEFAULT_SCALE: f64 = 0.1;

/// Variables of `make bench`; an empty one is none.
pub struct Settings {
    /// 1: seven million rows, 1.1 GB
    pub scale: f64,
    /// how often every way is measured
    pub rounds: usize,
    /// workers, or processes at a time, of every way
    pub parallelism: usize,
    /// file that gets what is printed
    pub results: Option<PathBuf>,
    sets: Option<Vec<String>>,
    ways: Option<Vec<String>>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match variable(name) {
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("{name} is \"{text}\", which is no number")),
        None => Ok(default),
    }
}

fn words(name: &str, known: &[&str]) -> Result<Option<Vec<String>>, String> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match words.iter().find(|word| !known.contains(&word.as_str())) {
        Some(word) => Err(format!("{name} has \"{word}\"; known are {}", known.join(" "))),
        None => Ok(Some(words)),
    }
}

impl Settings {
    /// Reads them; names must be among the known ones.
    pub fn read(sets: &[&str], ways: &[&str]) -> Result<Settings, String> {
        let settings = Settings {
            scale: number("SCALE", DEFAULT_SCALE)?,
            rounds: number("ROUNDS", 3)?,
            parallelism: number("PARALLELISM", 4)?,
            results: variable("RESULTS").map(PathBuf::from),
            sets: words("SETS", sets)?,
            ways: words("WAYS", ways)?,
        };
        if !(settings.scale > 0.0 && settings.scale <= 100.0) || settings.rounds == 0 || settings.parallelism == 0 {
            return Err("SCALE, ROUNDS and PARALLELISM must be above zero".to_owned());
        }
        Ok(settings)
    }

    /// Whether a data set is asked for.
    pub fn has_set(&self, name: &str) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.iter().any(|set| set == name))
    }

    /// Whether a way is asked for.
    pub fn has_way(&self, name: &str) -> bool {
        self.ways.as_ref().is_none_or(|ways| ways.iter().any(|way| way == name))
    }

    /// A number of rows, of so many at SCALE 1.
    pub fn scaled(&self, rows: u64) -> u64 {
        ((rows as f64 * self.scale) as u64).max(1)
    }

    /// As they were given, for the results.
    pub fn line(&self) -> String {
        let list =
            |words: &Option<Vec<String>>| words.as_ref().map_or_else(|| "all".to_owned(), |words| words.join(" "));
        format!(
            "SCALE={} ROUNDS={} PARALLELISM={} SETS={} WAYS={}",
            self.scale,
            self.rounds,
            self.parallelism,
            list(&self.sets),
            list(&self.ways)
        )
    }
}
