//! The point up to which a table is synced, and what it is about.

use super::rows::{LeftBy, Remembered, Watermark};
use super::{Store, shown_name};
use crate::error::{Result, tame};
use crate::plan::end::Moment;

impl Store {
    /// The remembered end_tm of a table. Forgotten when the table has been dropped and created anew since its last run: what it
    /// remembers is then about rows that are gone.
    pub fn watermark(&self, table: u32) -> Result<Option<Watermark>> {
        let rows = self.read(
            "SELECT s.end_tm, b.is_bounded, b.first::text, timezone('Etc/GMT+12', b.first)::text, b.last::text,
                    timezone('Etc/GMT+12', b.last)::text, timezone('Etc/GMT-14', b.last)::text
             FROM @.sync_table s
             LEFT JOIN LATERAL (
               SELECT min(r.started_at) AS first, max(r.started_at) AS last, bool_or(r.remembered IS NOT NULL) AS is_bounded FROM @.cgpsync_run r
               WHERE r.relation = $2::oid AND r.status = 'done' AND COALESCE(r.remembered, r.end_tm) = s.end_tm
             ) b ON true
             WHERE s.table_name = $1 AND $2::oid = COALESCE(
               (SELECT r.relation FROM @.cgpsync_run r
                WHERE r.table_name = s.table_name AND r.status = 'done' ORDER BY r.run_id DESC LIMIT 1), $2::oid)",
            &[Some(&shown_name(table)?), Some(&table.to_string())],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        // Which zone the source was in is not on record: its day is the earliest one, or at the latest another.
        let moment = |at: usize, local: usize| {
            let both = row.text(at).zip(row.text(local));
            both.map(|(instant, local)| Moment {
                instant: instant.to_owned(),
                local: local.to_owned(),
            })
        };
        let left_by = match (moment(2, 3), moment(4, 5), moment(4, 6)) {
            (Some(first), _, Some(at_most)) if row.is(1) => LeftBy::Run { first, at_most },
            (Some(first), Some(last), _) => LeftBy::Earlier { first, last },
            _ => LeftBy::Somebody,
        };
        let text = row.text(0).unwrap_or("").trim().to_owned();
        Ok((!text.is_empty()).then_some(Watermark { text, left_by }))
    }

    /// Where the remembered end_tm was taken from; None when no run of ours has left it.
    pub fn origin(&self, table: u32) -> Result<Option<Remembered>> {
        let rows = self.read(
            "SELECT run_id, source_system, source_database, source_table, source_address FROM @.cgpsync_run r
             WHERE relation = $1::oid AND status = 'done' AND source_table IS NOT NULL
               AND (remembered IS NOT NULL OR (source_system IS NULL AND end_tm = (
                     SELECT s.end_tm FROM @.sync_table s WHERE s.table_name = r.table_name)))
             ORDER BY run_id DESC LIMIT 1",
            &[Some(&table.to_string())],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Remembered {
            run_id: row.need(0)?,
            system: row.owned(1),
            // As 0.2.0 has left them they may not be tame.
            database: row.text(2).map(tame),
            table: tame(&row.string(3)?),
            address: row.text(4).map(tame),
        }))
    }

    /// Forgets the end_tm that is remembered for a table of this name; what it was.
    pub fn forget(&self, table: u32) -> Result<Option<String>> {
        let name = shown_name(table)?;
        let rows = self.write(
            "DELETE FROM @.sync_table WHERE table_name = $1 RETURNING end_tm",
            &[Some(&name)],
        )?;
        Ok(rows.first().and_then(|row| row.owned(0)))
    }

    /// Remembers `end_tm`, which run `run_id` has reached.
    pub fn set_watermark(&self, run_id: i64, table: u32, end_tm: &str) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run SET remembered = $2 WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string()), Some(end_tm)],
        )?;
        self.write(
            "INSERT INTO @.sync_table (table_name, end_tm) VALUES ($1, $2)
             ON CONFLICT (table_name) DO UPDATE SET end_tm = EXCLUDED.end_tm",
            &[Some(&shown_name(table)?), Some(end_tm)],
        )
        .map(|_| ())
    }
}
