//! The records of a configuration, and which of them each of two copies still lacks (pure).

use ebpf_common::layout::Record;

/// Copies that follow the records: one in force, one being prepared.
pub const COPIES: usize = 2;

/// Records with what each copy lacks of them.
#[derive(Debug, Default)]
pub struct Sheet {
    records: Vec<Record>,
    lacking: [Lacking; COPIES],
    changed: bool,
}

/// What a copy lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lacking {
    /// Everything: it is new, or the records have become more.
    #[default]
    All,
    /// These records; some may be named twice.
    Some(Vec<u32>),
}

impl Sheet {
    /// Returns all records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Returns a record.
    #[must_use]
    pub fn get(&self, index: u32) -> &Record {
        &self.records[index as usize]
    }

    /// Writes a record.
    pub fn set(&mut self, index: u32, record: Record) {
        let place = &mut self.records[index as usize];
        if *place == record {
            return;
        }
        *place = record;
        self.changed = true;
        // Past this, one copy of everything costs less than the list.
        let many = self.records.len() / 4;
        for lacking in &mut self.lacking {
            match lacking {
                Lacking::Some(indexes) if indexes.len() < many => indexes.push(index),
                other => *other = Lacking::All,
            }
        }
    }

    /// Lengthens the sheet by empty records.
    pub fn grow(&mut self, length: u32) {
        self.records.resize(length as usize, Record::EMPTY);
        self.forget_copies();
    }

    /// Tells whether anything was written since the last [`Self::settled`].
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Notes that what was written is in force.
    pub fn settled(&mut self) {
        self.changed = false;
    }

    /// Notes that the copies are new ones.
    pub fn forget_copies(&mut self) {
        self.lacking = [Lacking::All, Lacking::All];
        self.changed = true;
    }

    /// Returns what a copy lacks, and takes it for brought up to date.
    pub fn take_lacking(&mut self, copy: usize) -> Lacking {
        std::mem::replace(&mut self.lacking[copy], Lacking::Some(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A write, or bringing a copy up to date.
    #[derive(Clone, Debug)]
    enum Step {
        Write(u32, u8),
        Grow(u32),
        Bring(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..12u32, any::<u8>()).prop_map(|(index, value)| Step::Write(index, value)),
            1 => (1..4u32).prop_map(Step::Grow),
            2 => (0..COPIES).prop_map(Step::Bring),
        ]
    }

    proptest! {
        #[test]
        fn a_copy_that_was_brought_up_to_date_is_equal(steps in prop::collection::vec(step(), 1..80)) {
            let mut sheet = Sheet::default();
            sheet.grow(12);
            let mut copies: [Vec<Record>; COPIES] = Default::default();
            for step in steps {
                match step {
                    Step::Write(index, value) => sheet.set(index, Record { bytes: [value; 64] }),
                    Step::Grow(by) => sheet.grow(sheet.records().len() as u32 + by),
                    Step::Bring(copy) => {
                        match sheet.take_lacking(copy) {
                            Lacking::All => copies[copy] = sheet.records().to_vec(),
                            Lacking::Some(indexes) => {
                                for index in indexes {
                                    copies[copy][index as usize] = *sheet.get(index);
                                }
                            }
                        }
                        prop_assert_eq!(&copies[copy][..], sheet.records());
                    }
                }
            }
        }
    }

    #[test]
    fn writing_what_is_there_changes_nothing() {
        let mut sheet = Sheet::default();
        sheet.grow(40);
        sheet.settled();
        sheet.take_lacking(0);
        sheet.set(3, Record::EMPTY);
        assert!(!sheet.is_changed());
        sheet.set(3, Record { bytes: [1; 64] });
        assert!(sheet.is_changed());
        assert_eq!(sheet.take_lacking(0), Lacking::Some(vec![3]));
        assert_eq!(sheet.take_lacking(1), Lacking::All);
    }
}
