//! A registry of counters, gauges and histograms on plain atomics, rendered as Prometheus text or
//! OpenMetrics 1.0.
//!
//! Every series of a family exists from its registration on and starts at zero, so that an alert
//! can tell "nothing happened" from "not measured".

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The media type of Prometheus text.
pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The media type of OpenMetrics.
pub const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The two ways to write metrics down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0, which ends with `# EOF`.
    OpenMetrics,
}

impl Exposition {
    /// The media type of the rendered text.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => PROMETHEUS_TYPE,
            Self::OpenMetrics => OPENMETRICS_TYPE,
        }
    }
}

/// A label and the closed list of its values.
#[derive(Clone, Debug)]
pub struct Label {
    name: &'static str,
    values: Vec<&'static str>,
}

impl Label {
    /// A label with its values; the position of a value is its index in [`Counter::add`].
    pub fn new(name: &'static str, values: impl IntoIterator<Item = &'static str>) -> Self {
        Self { name, values: values.into_iter().collect() }
    }
}

/// A family of counters that only grow.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Grid<AtomicU64>>);

impl Counter {
    /// Adds one to the series at these label indexes.
    pub fn up(&self, at: &[usize]) {
        self.add(at, 1);
    }

    /// Adds to the series at these label indexes; an index outside the list is dropped, because a
    /// wrong metric must never stop a request.
    pub fn add(&self, at: &[usize], n: u64) {
        if let Some(cell) = self.0.cell(at) {
            cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The present value.
    pub fn value(&self, at: &[usize]) -> u64 {
        self.0.cell(at).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// A single value that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the value (or takes away).
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The present value.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations counted by upper bound.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

/// Upper bounds of the duration histograms, microseconds: an fsync on good disks to a stalled one.
const BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.0.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The cells of every combination of label values, row-major.
#[derive(Debug)]
struct Grid<C> {
    labels: Vec<Label>,
    cells: Vec<C>,
}

impl<C: Default> Grid<C> {
    fn new(labels: Vec<Label>) -> Self {
        let size = labels.iter().map(|label| label.values.len()).product();
        Self { labels, cells: std::iter::repeat_with(C::default).take(size).collect() }
    }
}

impl<C> Grid<C> {
    fn cell(&self, at: &[usize]) -> Option<&C> {
        if at.len() != self.labels.len() {
            return None;
        }
        let mut index = 0;
        for (label, position) in self.labels.iter().zip(at) {
            if *position >= label.values.len() {
                return None;
            }
            index = index * label.values.len() + position;
        }
        self.cells.get(index)
    }

    /// The label text of the cell at an index, e.g. `route="usage",status="2xx"`.
    fn label_text(&self, mut index: usize) -> String {
        let mut parts = Vec::with_capacity(self.labels.len());
        for label in self.labels.iter().rev() {
            let count = label.values.len();
            let value = label.values.get(index % count).copied().unwrap_or("");
            parts.push(format!("{}=\"{value}\"", label.name));
            index /= count;
        }
        parts.reverse();
        parts.join(",")
    }
}

#[derive(Clone)]
enum Cells {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    /// A gauge that is read when it is asked for, such as a queue's own length.
    Probe(Arc<dyn Fn() -> i64 + Send + Sync>),
    /// A counter that another room keeps.
    Total(Arc<dyn Fn() -> u64 + Send + Sync>),
}

#[derive(Clone)]
struct Family {
    name: &'static str,
    help: &'static str,
    cells: Cells,
}

/// All families of the process; cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Vec<Family>>>);

impl Registry {
    /// Registers counters; `name` has no `_total`, which the rendering adds.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Counter {
        let counter = Counter(Arc::new(Grid::new(labels)));
        self.push(name, help, Cells::Counter(counter.clone()));
        counter
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        let gauge = Gauge(Arc::default());
        self.push(name, help, Cells::Gauge(gauge.clone()));
        gauge
    }

    /// Registers a gauge whose value is read at each rendering.
    pub fn probe(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> i64 + Send + Sync + 'static,
    ) {
        self.push(name, help, Cells::Probe(Arc::new(read)));
    }

    /// Registers a counter that another room keeps and that is read at each rendering.
    pub fn total(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.push(name, help, Cells::Total(Arc::new(read)));
    }

    /// Registers a histogram of durations; `name` ends in `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &'static str) -> Histogram {
        let histogram = Histogram(Arc::default());
        self.push(name, help, Cells::Histogram(histogram.clone()));
        histogram
    }

    /// Writes all families down.
    pub fn render(&self, exposition: Exposition) -> String {
        // Probes run outside of the lock: they belong to other rooms.
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::with_capacity(16 << 10);
        for family in &families {
            family.render(exposition, &mut text);
        }
        if exposition == Exposition::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn push(&self, name: &'static str, help: &'static str, cells: Cells) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A second registration under one name would make the exposition invalid; the newer wins.
        families.retain(|family| family.name != name);
        families.push(Family { name, help, cells });
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry(…)")
    }
}

impl Family {
    fn render(&self, exposition: Exposition, out: &mut String) {
        let (name, help) = (self.name, self.help);
        // OpenMetrics names the family without `_total`, Prometheus text with it.
        let head = match (&self.cells, exposition) {
            (Cells::Counter(_) | Cells::Total(_), Exposition::Prometheus) => {
                format!("{name}_total")
            }
            _ => name.to_owned(),
        };
        let kind = match &self.cells {
            Cells::Counter(_) | Cells::Total(_) => "counter",
            Cells::Gauge(_) | Cells::Probe(_) => "gauge",
            Cells::Histogram(_) => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {head} {help}\n# TYPE {head} {kind}");
        match &self.cells {
            Cells::Counter(counter) => render_grid(name, &counter.0, out),
            Cells::Gauge(gauge) => {
                let _ = writeln!(out, "{name} {}", gauge.value());
            }
            Cells::Probe(read) => {
                let _ = writeln!(out, "{name} {}", read());
            }
            Cells::Total(read) => {
                let _ = writeln!(out, "{name}_total {}", read());
            }
            Cells::Histogram(histogram) => render_buckets(name, &histogram.0, out),
        }
    }
}

fn render_grid(name: &str, grid: &Grid<AtomicU64>, out: &mut String) {
    for (index, cell) in grid.cells.iter().enumerate() {
        let labels = grid.label_text(index);
        let value = cell.load(Ordering::Relaxed);
        let _ = if labels.is_empty() {
            writeln!(out, "{name}_total {value}")
        } else {
            writeln!(out, "{name}_total{{{labels}}} {value}")
        };
    }
}

fn render_buckets(name: &str, buckets: &Buckets, out: &mut String) {
    let mut running = 0;
    for (count, bound) in buckets.counts.iter().zip(BOUNDS_US) {
        running += count.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {running}", seconds(bound));
    }
    running += buckets.counts.last().map_or(0, |count| count.load(Ordering::Relaxed));
    let sum = seconds(buckets.sum_us.load(Ordering::Relaxed));
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {running}");
    let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {running}");
}

/// Microseconds as decimal seconds, without the detour over floating point.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let trimmed = text.trim_end_matches('0');
    if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Registry {
        let registry = Registry::default();
        let requests = registry.counter(
            "bt_requests",
            "Requests.",
            vec![Label::new("route", ["a", "b"]), Label::new("status", ["2xx", "5xx"])],
        );
        requests.up(&[1, 0]);
        requests.add(&[1, 0], 2);
        requests.up(&[2, 0]);
        requests.up(&[0]);
        registry.gauge("bt_open", "Open.").add(5);
        registry.probe("bt_queue", "Queue.", || 7);
        registry.total("bt_folds", "Folds.", || 8);
        let waits = registry.histogram("bt_wait_seconds", "Waits.");
        waits.observe(Duration::from_micros(250));
        waits.observe(Duration::from_millis(3));
        waits.observe(Duration::from_secs(99));
        registry
    }

    #[test]
    fn prometheus_text_names_counters_with_total() {
        let text = sample().render(Exposition::Prometheus);
        assert!(text.contains("# TYPE bt_requests_total counter\n"), "{text}");
        assert!(text.contains("bt_requests_total{route=\"b\",status=\"2xx\"} 3\n"), "{text}");
        assert!(text.contains("bt_requests_total{route=\"a\",status=\"5xx\"} 0\n"), "{text}");
        assert!(text.contains("# TYPE bt_folds_total counter\nbt_folds_total 8\n"), "{text}");
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn openmetrics_names_families_without_total_and_ends() {
        let text = sample().render(Exposition::OpenMetrics);
        assert!(text.contains("# TYPE bt_requests counter\n"), "{text}");
        assert!(text.contains("bt_requests_total{route=\"b\",status=\"2xx\"} 3\n"), "{text}");
        assert!(text.contains("\nbt_open 5\n") && text.contains("\nbt_queue 7\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn buckets_are_cumulative() {
        let text = sample().render(Exposition::Prometheus);
        assert!(text.contains("bt_wait_seconds_bucket{le=\"0.00025\"} 1\n"), "{text}");
        assert!(text.contains("bt_wait_seconds_bucket{le=\"0.005\"} 2\n"), "{text}");
        assert!(text.contains("bt_wait_seconds_bucket{le=\"10.0\"} 2\n"), "{text}");
        assert!(text.contains("bt_wait_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("bt_wait_seconds_sum 99.00325\n"), "{text}");
        assert!(text.contains("bt_wait_seconds_count 3\n"), "{text}");
    }

    #[test]
    fn the_newer_of_two_families_of_one_name_wins() {
        let registry = Registry::default();
        registry.gauge("bt_open", "Old.").set(1);
        registry.gauge("bt_open", "New.").set(2);
        let text = registry.render(Exposition::Prometheus);
        assert_eq!(text.matches("\nbt_open ").count(), 1, "{text}");
        assert!(text.contains("bt_open 2\n"), "{text}");
    }
}
