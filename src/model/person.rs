//! One person or device of a site, as the records know them: by pseudonyms.

use super::ids::Tag;

/// Who is looked for: the record tags of a user, of a device, or of both, one for each month whose
/// records can be searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Tags of the user.
    pub users: Vec<Tag>,
    /// Tags of the device.
    pub devices: Vec<Tag>,
}

impl Person {
    /// Whether there is anything to look for.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.devices.is_empty()
    }
}
