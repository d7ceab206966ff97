//! Decisions drawn from an input, byte by byte; zeros when it is used up.

/// What is left of an input.
pub struct Bytes<'i>(pub &'i [u8]);

impl<'i> Bytes<'i> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn below(&mut self, end: u8) -> usize {
        usize::from(self.byte() % end)
    }

    /// A run of bytes with its length in front, in one byte.
    pub fn run(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (run, rest) = self.0.split_at(length);
        self.0 = rest;
        run
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
