//! Eight bytes at a time: names, numbers and the ends of strings.

/// Whether a text begins with a name, by words of eight bytes: names are of some ten to thirty bytes, for which a call of the
/// general comparison costs more than comparing.
#[inline]
pub(super) fn begins(text: &[u8], name: &[u8]) -> bool {
    let Some(text) = text.get(..name.len()) else { return false };
    let (Some(last), Some(of_text)) = (name.last_chunk::<8>(), text.last_chunk::<8>()) else { return text == name };
    let ((words, _), (of_texts, _)) = (name.as_chunks::<8>(), text.as_chunks::<8>());
    words.iter().zip(of_texts).all(|(word, of_text)| word == of_text) && last == of_text
}

pub(super) const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that the digits at the beginning of a word make, and how many they are (after Lemire, "Quickly parsing eight
/// digits", 2022).
#[inline]
pub(super) fn leading_digits(word: u64) -> (u64, usize) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let digits = word ^ (ONES * 0x30);
    // The first byte above 9 is marked; marks behind it may be wrong.
    let others = (digits.wrapping_add(ONES * 0x06) | digits) & (ONES * 0xf0);
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    let tens = (digits << (64 - 8 * count)).wrapping_mul(10 * 256 + 1) >> 8;
    let hundreds = (tens & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 * 65_536 + 1) >> 16;
    let all = (hundreds & 0x0000_ffff_0000_ffff).wrapping_mul((10_000 << 32) + 1) >> 32;
    (all, count)
}

/// The top bit of the first byte of a word that is a quote (0x22) or a backslash (0x5c), and perhaps of later ones; 0 when none is.
/// (Zero-byte test after Mycroft, 1987: false marks come only above a true one.)
pub(super) fn quotes_and_escapes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    zero_bytes(word ^ (ONES * 0x22)) | zero_bytes(word ^ (ONES * 0x5c))
}
