//! Problems (RFC 9457).

/// Where the types of all problems live; a stable name, not a promise of a page.
pub const PROBLEMS: &str = "https://blindtally.dev/problems/";
