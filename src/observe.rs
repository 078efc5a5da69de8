//! What operators see: logs and metrics. This room knows no other room; each room registers its own
//! counters here and is handed the handles.
//!
//! Invariant: no id, no name and no free text ever becomes a label. Label values are `'static`
//! words of closed lists, fixed when a family is registered, so a caller cannot make new ones.

pub mod counters;
pub mod logs;
pub mod metrics;

pub use counters::{RecordCounters, RecordOutcome};
pub use metrics::{Counter, Gauge, Histogram, Registry};
