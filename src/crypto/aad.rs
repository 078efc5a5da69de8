//! The associated data of a seal: what the bytes are and where they belong.

/// Length-prefixed parts, so that no two lists of parts have the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Aad(Vec<u8>);

impl Aad {
    /// Associated data that begins with what the sealed bytes are, e.g. `journal/1`: name and
    /// format version.
    pub fn new(what: &str) -> Self {
        Self(Vec::with_capacity(64)).text(what)
    }

    /// Adds a text.
    pub fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    /// Adds a number.
    pub fn number(self, part: u64) -> Self {
        self.bytes(&part.to_be_bytes())
    }

    /// Adds bytes.
    pub fn bytes(mut self, part: &[u8]) -> Self {
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }

    /// The encoded parts.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_never_run_together() {
        let left = Aad::new("x").text("ab").text("c");
        let right = Aad::new("x").text("a").text("bc");
        assert_ne!(left.as_bytes(), right.as_bytes());
    }
}
