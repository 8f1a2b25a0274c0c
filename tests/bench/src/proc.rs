//! Processes of pods as the machine counts them: memory and CPU from /proc, found by the pod's uid in their cgroup.

use std::fs::{read_dir, read_to_string};

/// Bytes and CPU seconds of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident memory, MiB.
    pub rss_mib: f64,
    /// The most it ever was, MiB.
    pub peak_mib: f64,
    /// CPU seconds of all threads so far.
    pub cpu_s: f64,
}

/// The process of this name in the pod with this uid.
pub fn of_pod(uid: &str, name: &str) -> Option<u32> {
    let marks = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let entries = read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some(pid)
    });
    pids.into_iter().find(|pid| {
        let text = |file: &str| read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text("comm").trim() == name
            && marks
                .iter()
                .any(|mark| text("cgroup").contains(mark.as_str()))
    })
}

/// What a process has used; none when it is gone.
pub fn usage(pid: u32) -> Option<Usage> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(Usage {
        rss_mib: kib(&status, "VmRSS:")? / 1024.0,
        peak_mib: kib(&status, "VmHWM:")? / 1024.0,
        cpu_s: cpu_ticks(&stat)? / ticks,
    })
}

/// A line `VmRSS:   21924 kB` of a status file.
fn kib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system ticks of a stat file.
fn cpu_ticks(stat: &str) -> Option<f64> {
    // The name before the last `)` may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(ticks(11)? + ticks(12)?)
}

/// Runnable processes of the whole machine: averages over 1, 5 and 15 minutes.
pub fn load_average() -> [f64; 3] {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    let mut words = text.split(' ').filter_map(|word| word.parse().ok());
    std::array::from_fn(|_| words.next().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::{cpu_ticks, kib, load_average, usage};

    #[test]
    fn files_of_proc() {
        assert_eq!(
            kib("Name:\ta\nVmRSS:\t   2048 kB\n", "VmRSS:"),
            Some(2048.0)
        );
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 30 12 0 0 20 0 9 0";
        assert_eq!(cpu_ticks(stat), Some(42.0));
        let own = usage(std::process::id()).unwrap();
        assert!(own.rss_mib > 0.1 && own.peak_mib >= own.rss_mib);
        assert!(load_average().iter().all(|load| *load >= 0.0));
    }
}
