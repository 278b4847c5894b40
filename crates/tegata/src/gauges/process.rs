//! What the process takes of its machine, under the names that Prometheus has for it.

use std::{fmt, fs, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use tegata_core::Timestamp;

/// This process.
#[derive(Debug)]
pub(crate) struct Process {
    /// When it was started.
    pub(crate) since: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
        let help = "Time of processors that the process has taken";
        let cpu = encoder.encode_descriptor("process_cpu_seconds", help, None, counter)?;
        let taken = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        ConstCounter::new(taken.as_secs_f64()).encode(cpu)?;
        // Where the system does not say, there is no number.
        let status = fs::read_to_string("/proc/self/status").ok();
        if let Some(bytes) = status.as_deref().and_then(resident) {
            let help = "Memory of the machine that the process holds";
            let memory =
                encoder.encode_descriptor("process_resident_memory_bytes", help, None, gauge)?;
            ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX)).encode(memory)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let help = "Files and connections that are open";
            let files = encoder.encode_descriptor("process_open_fds", help, None, gauge)?;
            ConstGauge::new(i64::try_from(open.count()).unwrap_or(i64::MAX)).encode(files)?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let help = "Files and connections that may be open";
            let files = encoder.encode_descriptor("process_max_fds", help, None, gauge)?;
            ConstGauge::new(i64::try_from(most).unwrap_or(i64::MAX)).encode(files)?;
        }
        let help = "When the process was started, in seconds since 1970";
        let start = encoder.encode_descriptor("process_start_time_seconds", help, None, gauge)?;
        ConstGauge::new(Duration::from_millis(self.since.millis()).as_secs_f64()).encode(start)
    }
}

/// How many bytes `/proc/self/status` says are resident (proc_pid_status(5)).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_says() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
        for none in ["", "VmRSS:", "VmRSS: 5 pages", "VmRSS: 99999999999999999999 kB"] {
            assert_eq!(resident(none), None, "{none}");
        }
        assert!(resident(&fs::read_to_string("/proc/self/status").unwrap()).unwrap() > 0);
    }
}
