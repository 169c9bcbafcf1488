//! Which CPUs a server may use, and which the load.

use std::{fmt, io};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A division of CPUs between a server and the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    server: Vec<usize>,
    load: Vec<usize>,
}

impl Cores {
    /// The CPUs that this program may use now.
    ///
    /// # Errors
    /// As `sched_getaffinity`.
    pub fn available() -> io::Result<Vec<usize>> {
        let set = sched_getaffinity(None)?;
        Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
    }

    /// The first `count` of `cpus` for the server, the others for the load. If there are no others the two share all.
    ///
    /// ```
    /// use pulse_bench::Cores;
    /// assert_eq!(Cores::split(&[0, 1, 2], 1).to_string(), "server on CPU 0, load on CPU 1, 2");
    /// assert_eq!(Cores::split(&[0, 1], 2).to_string(), "server and load share CPU 0, 1");
    /// ```
    #[must_use]
    pub fn split(cpus: &[usize], count: usize) -> Self {
        let (server, load) = cpus.split_at(count.min(cpus.len()));
        Self { server: server.to_vec(), load: if load.is_empty() { cpus } else { load }.to_vec() }
    }

    /// Puts this program where the load runs; what `start` starts runs where the server does.
    pub(crate) fn place<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        // A child inherits the CPUs of the thread that starts it.
        move_to(&self.server)?;
        let started = start();
        move_to(&self.load)?;
        started
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |cpus: &[usize]| cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if self.server.iter().any(|cpu| self.load.contains(cpu)) {
            return write!(f, "server and load share CPU {}", list(&self.load));
        }
        write!(f, "server on CPU {}, load on CPU {}", list(&self.server), list(&self.load))
    }
}

fn move_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    Ok(sched_setaffinity(None, &set)?)
}
