//! Numbers and bytes as they are written, and taking them back out of what may be nonsense.

/// What was read is not what it should be; why, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

const ENDS_EARLY: Malformed = Malformed("it ends too early");

/// Writes a number without a sign, seven bits per byte, the lowest first.
pub fn put_unsigned(out: &mut Vec<u8>, mut number: u64) {
    loop {
        // Seven bits always fit.
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Writes a number with a sign, so that small ones of either sign are short.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    let folded = (number << 1) ^ (number >> 63);
    put_unsigned(out, u64::from_le_bytes(folded.to_le_bytes()));
}

/// Writes a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_unsigned(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

/// What is left of something that is being read.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a>(pub &'a [u8]);

impl<'a> Taken<'a> {
    /// Whether all was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// When there is none.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number of eight bytes.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn fixed(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number as [`put_unsigned`] writes it.
    ///
    /// # Errors
    /// When there is none.
    pub fn unsigned(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Malformed("a number is too large"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too long"))
    }

    /// A number as [`put_signed`] writes it.
    ///
    /// # Errors
    /// When there is none.
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let folded = self.unsigned()?;
        let half = i64::from_le_bytes((folded >> 1).to_le_bytes());
        Ok(if folded & 1 == 0 { half } else { !half })
    }

    /// A number that is at most `most`.
    ///
    /// # Errors
    /// When there is none, or it is larger; `what` says so.
    pub fn at_most(&mut self, most: usize, what: &'static str) -> Result<usize, Malformed> {
        let number = self.unsigned()?;
        usize::try_from(number)
            .ok()
            .filter(|number| *number <= most)
            .ok_or(Malformed(what))
    }
}
