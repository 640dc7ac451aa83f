//! Changes of an input, made of a number: what the tests try of each target, and the engine where
//! there is no better one. It knows nothing of what the target does with the input.

/// Numbers that follow from a seed (xorshift64*, Vigna 2016): the same on every host.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

/// Values at which parsers go wrong.
const ODD: [u64; 9] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::MAX];

/// An input never grows beyond this.
const LONGEST: usize = 1 << 20;

impl Numbers {
    /// Those that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// A changed copy of one of the seeds.
    pub fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let Some(seed) = seeds.get(self.below(seeds.len())) else { return Vec::new() };
        let other = &seeds[self.below(seeds.len())];
        let mut input = seed.clone();
        for _ in 0..=self.below(4) {
            self.step(&mut input, other);
        }
        input.truncate(LONGEST);
        input
    }

    fn step(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        if input.is_empty() {
            input.push(self.byte());
        }
        let at = self.below(input.len());
        let some = |numbers: &mut Self, most: usize| 1 + numbers.below(most.clamp(1, 64));
        match self.below(9) {
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.byte(),
            2 => input.insert(at, self.byte()),
            3 => {
                let end = (at + some(self, input.len() - at)).min(input.len());
                input.drain(at..end);
            }
            4 => {
                let end = (at + some(self, input.len() - at)).min(input.len());
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            5 => {
                let value = ODD[self.below(ODD.len())];
                let width = 1 << self.below(4);
                let mut bytes = value.to_le_bytes();
                if self.below(2) == 0 {
                    bytes.reverse();
                    bytes.rotate_left(8 - width);
                }
                let end = (at + width).min(input.len());
                input[at..end].copy_from_slice(&bytes[..end - at]);
            }
            6 => input.truncate(at),
            7 if !other.is_empty() => {
                let from = self.below(other.len());
                let end = (from + some(self, other.len() - from)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
            // A digit of a number in a text.
            _ => match input.iter().skip(at).position(u8::is_ascii_digit) {
                Some(after) => input[at + after] = b'0' + self.byte() % 10,
                None => input[at] = b"\n\0 =\"[]{}:/\\-"[self.below(13)],
            },
        }
    }
}
