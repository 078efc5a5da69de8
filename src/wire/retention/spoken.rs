//! Words of the domain as JSON strings.

use serde::{Deserialize, Deserializer, Serializer};

use crate::model::ids::{GroupId, SiteId};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::usage::Evidence;

/// What is written as a JSON string and read back from it.
pub trait Spoken: Sized + std::fmt::Display {
    /// Reads it.
    fn read(text: &str) -> Option<Self>;
}

impl Spoken for SiteId {
    fn read(text: &str) -> Option<Self> {
        Self::parse_scope(text.as_bytes())
    }
}

impl Spoken for GroupId {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes())
    }
}

impl Spoken for Month {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes())
    }
}

impl Spoken for Day {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes())
    }
}

impl Spoken for Timestamp {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes()).filter(|at| at.to_string() == text)
    }
}

impl Spoken for Evidence {
    fn read(text: &str) -> Option<Self> {
        Self::from_name(text.as_bytes())
    }
}

/// For `#[serde(with = "text")]`.
pub mod text {
    use super::{Deserialize, Deserializer, Serializer, Spoken};
    use serde::de::Error as _;

    pub fn serialize<T: Spoken, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: Spoken, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        T::read(&text).ok_or_else(|| D::Error::custom("of another form"))
    }
}

/// For `#[serde(with = "texts")]`: a list of them.
pub mod texts {
    use super::{Deserialize, Deserializer, Serializer, Spoken};
    use serde::de::Error as _;

    pub fn serialize<T: Spoken, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(T::to_string))
    }

    pub fn deserialize<'de, T: Spoken, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let values = texts.iter().map(|text| T::read(text)).collect::<Option<_>>();
        values.ok_or_else(|| D::Error::custom("of another form"))
    }
}

/// For `#[serde(with = "maybe")]`: one or `null`.
pub mod maybe {
    use super::{Deserialize, Deserializer, Serializer, Spoken};
    use serde::de::Error as _;

    pub fn serialize<T: Spoken, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, T: Spoken, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        T::read(&text).map(Some).ok_or_else(|| D::Error::custom("of another form"))
    }
}

/// Classes of a hold by their names.
pub mod classes {
    use super::{Deserialize, Deserializer, Serializer};
    use crate::model::vocab::Class;
    use serde::de::Error as _;

    pub fn serialize<S: Serializer>(values: &[Class], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|class| class.name()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Class>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let values = texts.iter().map(|text| Class::from_name(text.as_bytes())).collect();
        Option::<Vec<Class>>::ok_or_else(values, || D::Error::custom("of another form"))
    }
}

/// A lot as the pair of its class's word and its place.
pub mod lot {
    use super::{Deserialize, Deserializer, Serializer};
    use crate::model::batch::{Bucket, Epoch, SiteMonth};
    use crate::model::ids::SiteNo;
    use crate::model::retention::Lot;
    use crate::model::time::{Day, Month};
    use crate::model::vocab::Class;
    use serde::Serialize;
    use serde::de::Error as _;

    pub fn serialize<S: Serializer>(lot: &Lot, to: S) -> Result<S::Ok, S::Error> {
        let (word, site, epoch) = match lot {
            Lot::Records(bucket) => (bucket.class.name(), bucket.site, bucket.epoch.code()),
            Lot::Sets(at) => ("sets", at.site, at.month.0),
            Lot::RecordKey(at) => ("key.record", at.site, at.month.0),
            Lot::WatermarkKey(at) => ("key.watermark", at.site, at.month.0),
            Lot::BaseKey(at) => ("key.base", at.site, at.month.0),
            Lot::Suppression(at) => ("key.suppression", at.site, at.month.0),
            Lot::Seen(day) => ("seen", SiteNo(0), day.0),
            Lot::Access(month) => ("access", SiteNo(0), month.0),
        };
        (word, site.0, epoch).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Lot, D::Error> {
        let (word, site, epoch) = <(String, u32, u32)>::deserialize(from)?;
        let site = SiteNo(site);
        let at = SiteMonth { site, month: Month(epoch) };
        let bucket = |class| Lot::Records(Bucket { class, site, epoch: Epoch::from_code(epoch) });
        Ok(match word.as_str() {
            "records" => bucket(Class::Records),
            "detections" => bucket(Class::Detections),
            "sets" => Lot::Sets(at),
            "key.record" => Lot::RecordKey(at),
            "key.watermark" => Lot::WatermarkKey(at),
            "key.base" => Lot::BaseKey(at),
            "key.suppression" => Lot::Suppression(at),
            "seen" if site == SiteNo(0) => Lot::Seen(Day(epoch)),
            "access" if site == SiteNo(0) => Lot::Access(Month(epoch)),
            _ => return Err(D::Error::custom("of another form")),
        })
    }
}
