//! The list of device ids.

use super::Pass;
use crate::identity::RawId;
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::vocab::{DeviceKind, IdEncoding};
use crate::wire::fault::Part;
use crate::wire::json::Broken;
use crate::wire::record::RawDevice;
use crate::wire::schema::Room;

/// A device id while its members are read.
#[derive(Clone, Copy, Default)]
pub(super) struct Draft<'a> {
    pub(super) kind: Option<DeviceKind>,
    pub(super) value: Option<RawId<'a>>,
    pub(super) encoding: Option<IdEncoding>,
}

impl Pass<'_, '_> {
    /// Reads `device.ids`.
    pub(super) fn device_ids(&mut self) -> Result<(), Broken> {
        self.enter();
        self.reader.take(b'[');
        let mut more = !self.reader.take(b']');
        let mut index = 0u16;
        while more {
            if usize::from(index) >= limits::DEVICE_IDS_MAX {
                self.note_here(Reason::TooManyDevices);
                self.skip()?;
            } else {
                self.path.push(Part::Index(index));
                self.device_id()?;
                self.path.pop();
            }
            index = index.saturating_add(1);
            more = self.reader.more(b']')?;
        }
        self.leave();
        Ok(())
    }

    fn device_id(&mut self) -> Result<(), Broken> {
        if self.reader.peek() != b'{' {
            self.note_here(Reason::WrongType);
            return self.skip();
        }
        self.draft = Draft::default();
        self.level += 1;
        self.object(Room::DeviceId)?;
        self.level -= 1;
        match self.draft {
            // Without a value it is an empty id, which is junk and costs the record nothing.
            Draft { kind: Some(kind), value, encoding } => {
                let value = value.unwrap_or(RawId::new(&[]));
                self.record.devices.push(RawDevice { kind, value, encoding });
            }
            // A member that was there and unfit has left a fault, and that comes first.
            Draft { kind: None, .. } => self.note_missing("kind"),
        }
        Ok(())
    }
}
