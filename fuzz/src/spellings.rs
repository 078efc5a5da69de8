//! Pseudonyms under keys that are the same in every run, as the one way to compare what a raw id
//! or its canonical form is: the room `identity` shows nobody its bytes.

use blindtally::crypto::{Base, BaseKey, Secret, TagKey};
use blindtally::identity::{
    DeviceId, FormRoom, Job, OtherKind, Payload, PayloadEncoding, PseudonymQueue, RawId, Slot,
    UserRules, device, payload,
};
use blindtally::model::pseudonym::Algorithm;
use blindtally::model::vocab::{DeviceKind, IdEncoding};

/// A queue with its keys.
pub struct Tags {
    queue: PseudonymQueue,
    base: BaseKey,
    key: TagKey,
}

impl Default for Tags {
    fn default() -> Self {
        let secret = |byte| Secret::take(&mut [byte; 32]).expect("32 bytes are a secret");
        Self {
            queue: PseudonymQueue::default(),
            base: BaseKey::new(&secret(1)),
            key: TagKey::new(&secret(2)),
        }
    }
}

impl Tags {
    fn tag(&mut self, push: impl FnOnce(&mut PseudonymQueue, Base<'_>) -> Slot) -> [u8; 16] {
        self.queue.clear();
        let slot = push(&mut self.queue, self.base.under(Algorithm::HmacSha256));
        self.queue.run();
        self.queue.tags(&[Job { slot, key: 0 }], &[&self.key])[0].0
    }

    /// Of a user; `None` for one that stands for nobody.
    pub fn user(&mut self, text: &[u8], rules: &UserRules) -> Option<[u8; 16]> {
        let mut room = FormRoom::default();
        let user = rules.read(Some(RawId::new(text)), &mut room).somebody()?;
        Some(self.tag(|queue, base| queue.push_user(base, &user)))
    }

    /// Of a device.
    pub fn device(&mut self, id: &DeviceId<'_>) -> [u8; 16] {
        self.tag(|queue, base| queue.push_device(base, id))
    }

    /// Of a device, from its text.
    pub fn device_text(
        &mut self,
        kind: DeviceKind,
        text: &[u8],
        encoding: Option<IdEncoding>,
    ) -> [u8; 16] {
        self.device(&device(kind, RawId::new(text), encoding, false))
    }

    /// Of any other id.
    pub fn other(&mut self, kind: OtherKind, raw: RawId<'_>) -> [u8; 16] {
        self.tag(|queue, base| queue.push_other(base, kind, raw))
    }

    /// Of a payload, with its bits.
    pub fn payload(&mut self, text: &[u8], how: Option<PayloadEncoding>) -> (u32, [u8; 16]) {
        let payload: Payload<'_> = payload(RawId::new(text), how);
        (payload.bits(), self.tag(|queue, base| queue.push_payload(base, &payload)))
    }
}
