//! Puts the parts of a module together (pure).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{ModuleId, limits::MAX_MODULE_BYTES};
use runtime::push::ModulePart;

/// Why a part is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidPart {
    #[error("part {part} of module {module} came where {expected} was due")]
    OutOfOrder { module: ModuleId, part: u32, expected: u32 },
    #[error("part {part} of module {module} is no base64")]
    NoData { module: ModuleId, part: u32 },
    #[error("module {module} has more than {MAX_MODULE_BYTES} bytes")]
    TooLarge { module: ModuleId },
}

/// The module that is coming, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    module: Option<ModuleId>,
    next: u32,
    bytes: Vec<u8>,
}

impl Arriving {
    /// Takes a part; returns the module when it is the last. The first of another one begins anew.
    pub(super) fn take(
        &mut self,
        part: ModulePart,
    ) -> Result<Option<(ModuleId, Vec<u8>)>, InvalidPart> {
        let ModulePart { module, part, parts, data } = part;
        if part == 0 {
            *self = Self { module: Some(module), ..Self::default() };
        }
        if self.module != Some(module) || part != self.next || part >= parts {
            let expected = if self.module == Some(module) { self.next } else { 0 };
            return Err(InvalidPart::OutOfOrder { module, part, expected });
        }
        let data = STANDARD.decode(data).map_err(|_| InvalidPart::NoData { module, part })?;
        if self.bytes.len() + data.len() > MAX_MODULE_BYTES {
            return Err(InvalidPart::TooLarge { module });
        }
        self.bytes.extend(data);
        self.next += 1;
        if self.next < parts {
            return Ok(None);
        }
        Ok(Some((module, std::mem::take(self).bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(module: u8, part: u32, parts: u32, data: &[u8]) -> ModulePart {
        ModulePart { module: ModuleId([module; 32]), part, parts, data: STANDARD.encode(data) }
    }

    #[test]
    fn parts_in_order_make_a_module_and_others_are_refused() {
        let mut arriving = Arriving::default();
        assert_eq!(arriving.take(part(1, 0, 2, b"ab")), Ok(None));
        assert_eq!(
            arriving.take(part(1, 1, 2, b"c")),
            Ok(Some((ModuleId([1; 32]), b"abc".into())))
        );
        // Another one, begun anew.
        assert_eq!(arriving.take(part(2, 0, 3, b"x")), Ok(None));
        assert_eq!(arriving.take(part(1, 0, 1, b"y")), Ok(Some((ModuleId([1; 32]), b"y".into()))));
        let out_of_order = |part, expected| {
            Err(InvalidPart::OutOfOrder { module: ModuleId([3; 32]), part, expected })
        };
        assert_eq!(arriving.take(part(3, 1, 2, b"")), out_of_order(1, 0));
        assert_eq!(arriving.take(part(3, 0, 0, b"")), out_of_order(0, 0));
        assert_eq!(arriving.take(part(3, 0, 3, b"")), Ok(None));
        assert_eq!(arriving.take(part(3, 2, 3, b"")), out_of_order(2, 1));
        let garbled = ModulePart { data: "?".into(), ..part(4, 0, 1, b"") };
        assert!(matches!(arriving.take(garbled), Err(InvalidPart::NoData { .. })));
    }

    #[test]
    fn a_module_is_bounded() {
        let mut arriving = Arriving::default();
        let half = vec![0; MAX_MODULE_BYTES / 2];
        assert_eq!(arriving.take(part(1, 0, 3, &half)), Ok(None));
        assert_eq!(arriving.take(part(1, 1, 3, &half)), Ok(None));
        let more = arriving.take(part(1, 2, 3, b"x"));
        assert_eq!(more, Err(InvalidPart::TooLarge { module: ModuleId([1; 32]) }));
    }
}
