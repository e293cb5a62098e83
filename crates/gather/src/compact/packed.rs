//! Values that are kept for long and looked at rarely.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value as compressed text (JSON in an LZ4 block): a status with all its texts in a fraction of the memory, for some
/// microseconds each time that it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Packed<T> {
    /// Reads back as it was: that was tried.
    Bytes(Arc<[u8]>),
    /// What would not.
    Whole(Arc<T>),
}

impl<T: Serialize + DeserializeOwned + PartialEq> Packed<T> {
    /// Packs a value.
    pub fn new(value: T) -> Self {
        match serde_json::to_vec(&value) {
            Ok(text) => {
                let bytes = lz4_flex::compress_prepend_size(&text);
                if read(&bytes).as_ref() == Some(&value) {
                    Self::Bytes(Arc::from(bytes))
                } else {
                    Self::Whole(Arc::new(value))
                }
            }
            Err(_) => Self::Whole(Arc::new(value)),
        }
    }

    /// The value. None only where memory does not hold what was put there.
    pub fn open(&self) -> Option<Arc<T>> {
        match self {
            Self::Bytes(bytes) => read(bytes).map(Arc::new),
            Self::Whole(value) => Some(value.clone()),
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let text = lz4_flex::decompress_size_prepended(bytes).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[test]
    fn a_value_comes_back() {
        let value: BTreeMap<String, Option<f64>> = (0..99).map(|i| (format!("the same text {i}"), Some(f64::from(i) / 7.0))).collect();
        let packed = Packed::new(value.clone());
        assert!(matches!(&packed, Packed::Bytes(bytes) if bytes.len() < 2500));
        assert_eq!(packed.open().as_deref(), Some(&value));
        assert_eq!(packed, Packed::new(value));
    }

    #[test]
    fn what_would_not_come_back_is_kept_whole() {
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        struct Forgetful {
            #[serde(skip)]
            forgotten: u8,
        }
        let value = Forgetful { forgotten: 7 };
        assert_eq!(Packed::new(value.clone()).open().as_deref(), Some(&value));
        // A map with keys that are no strings has no JSON.
        let pairs = BTreeMap::from([((1, 2), 3)]);
        assert_eq!(Packed::new(pairs.clone()).open().as_deref(), Some(&pairs));
    }
}
