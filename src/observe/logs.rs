//! Logs: lines for people on a terminal, JSON for machines, always on standard error.
//!
//! Only our own events are logged below `warn`: at `debug`, HTTP libraries print header values,
//! tokens among them. There is deliberately no way to widen that filter.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least serious event that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// Someone must look.
    Error,
    /// Something is off.
    Warn,
    /// Starts, stops and rare changes.
    #[default]
    Info,
    /// For finding faults; still without ids.
    Debug,
}

/// What the logs look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// How lines look.
    pub format: Format,
    /// What is left out.
    pub level: Level,
}

impl Format {
    /// The format of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Level {
    /// The level of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            _ => None,
        }
    }

    const fn filter(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,blindtally=info",
            Self::Debug => "warn,blindtally=debug",
        }
    }
}

/// Sets the process's log up; a second call changes nothing, so that tests may start many servers.
pub fn start(settings: Settings) {
    let terminal = std::io::stderr().is_terminal();
    let json = match settings.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(settings.level.filter()))
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    // The error says only that a subscriber is there already.
    let _ = if json { lines.json().flatten_event(true).try_init() } else { lines.try_init() };
}

/// Replaces the panic message by its place: a message may quote the values at hand, and those may
/// be ids (P1).
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location();
        let (file, line) = place.map_or(("unknown", 0), |place| (place.file(), place.line()));
        tracing::error!(file, line, "a task ended with a panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_never_log_below_warn() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
            let default = level.filter().split(',').next().unwrap();
            assert!(matches!(default, "error" | "warn"), "{default}");
            assert!(level.filter().split(',').all(|part| EnvFilter::try_new(part).is_ok()));
        }
    }

    #[test]
    fn names_are_read_exactly() {
        assert_eq!(Format::from_name("json"), Some(Format::Json));
        assert_eq!(Format::from_name("JSON"), None);
        assert_eq!(Level::from_name("debug"), Some(Level::Debug));
        assert_eq!(Level::from_name("trace"), None);
    }
}
