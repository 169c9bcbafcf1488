//! What a process costs, read from `/proc` (man 5 proc).

use std::fs;
use std::time::Duration;

/// A process whose costs are read.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// The process with this id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// CPU time of all its threads so far, in nanoseconds where the kernel keeps scheduler statistics.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn cpu(self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process runs");
        let nanos = tasks.filter_map(|task| {
            let line = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            line.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Resident memory now, in bytes.
    #[must_use]
    pub fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory it ever had, in bytes.
    #[must_use]
    pub fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel tells it");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }
}
