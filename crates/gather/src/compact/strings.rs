//! Names that many objects share.

use std::collections::HashSet;
use std::sync::Arc;

/// Fewer strings than this are never looked through.
const FEW: usize = 1024;

/// One copy of each string: an instance's name stands in its pod, its PVCs and their labels.
#[derive(Debug)]
pub struct Strings {
    known: HashSet<Arc<str>>,
    /// At this many, those that nobody else holds any more are dropped.
    sweep_at: usize,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            sweep_at: FEW,
        }
    }
}

impl Strings {
    /// The copy of this text.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            // So that a sweep is rare, however many strings there are.
            self.sweep_at = FEW.max(self.known.len().saturating_mul(2));
        }
        let text: Arc<str> = Arc::from(text);
        self.known.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_forgotten_ones_go() {
        let mut strings = Strings::default();
        let kept = strings.share("kept");
        assert!(Arc::ptr_eq(&kept, &strings.share("kept")));
        for i in 0..FEW * 4 {
            strings.share(&i.to_string());
        }
        assert!(strings.known.len() <= FEW);
        assert!(Arc::ptr_eq(&kept, &strings.share("kept")));
    }
}
