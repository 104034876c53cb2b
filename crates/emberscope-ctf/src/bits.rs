//! Integers out of bits.

use crate::metadata::class::ByteOrder;

/// Reads an unsigned integer of 1 to 64 bits at a bit position; `None` beyond the end of the bytes.
///
/// Bits are counted from the least significant of a byte in little endian and from the most significant in big endian.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize, bits: u32, order: ByteOrder) -> Option<u64> {
    if at.is_multiple_of(8) {
        let from = bytes.get(at / 8..)?;
        let little = order == ByteOrder::Little;
        match bits {
            8 => return from.first().map(|&byte| u64::from(byte)),
            16 => {
                let two = *from.first_chunk::<2>()?;
                return Some(u64::from(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) }));
            }
            32 => {
                let four = *from.first_chunk::<4>()?;
                return Some(u64::from(if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }));
            }
            64 => {
                let eight = *from.first_chunk::<8>()?;
                return Some(if little { u64::from_le_bytes(eight) } else { u64::from_be_bytes(eight) });
            }
            _ => {}
        }
    }
    read_bits(bytes, at, bits, order)
}

fn read_bits(bytes: &[u8], at: usize, bits: u32, order: ByteOrder) -> Option<u64> {
    let shift = at % 8;
    let total = shift + bits as usize;
    let touched = bytes.get(at / 8..)?.get(..total.div_ceil(8))?;
    let mask = u64::MAX >> (64 - bits.clamp(1, 64));
    let value = match order {
        ByteOrder::Little => touched.iter().rev().fold(0_u128, |value, &byte| value << 8 | u128::from(byte)) >> shift,
        ByteOrder::Big => {
            touched.iter().fold(0_u128, |value, &byte| value << 8 | u128::from(byte)) >> (touched.len() * 8 - total)
        }
    };
    Some(value as u64 & mask)
}

/// Extends the sign of an integer of so many bits.
#[inline]
pub(crate) fn sign(value: u64, bits: u32) -> i64 {
    let unused = 64 - bits.clamp(1, 64);
    (value << unused) as i64 >> unused
}

/// A LEB128 integer at a byte: its value, its bits (7 a byte) and its bytes; `None` when it is cut or longer than 64 bits.
pub(crate) fn leb128(bytes: &[u8]) -> Option<(u64, u32, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        let shift = index as u32 * 7;
        if index == 9 && part > 1 && part != 0x7f {
            return None;
        }
        value |= part.checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value, (shift + 7).min(64), index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_endian_counts_bits_from_the_least_significant() {
        // 0xb5 = 1011_0101, 0x6e = 0110_1110
        let bytes = [0xb5, 0x6e];
        assert_eq!(read(&bytes, 0, 3, ByteOrder::Little), Some(0b101));
        assert_eq!(read(&bytes, 3, 5, ByteOrder::Little), Some(0b10110));
        assert_eq!(read(&bytes, 5, 6, ByteOrder::Little), Some(0b110_101));
    }

    #[test]
    fn big_endian_counts_bits_from_the_most_significant() {
        let bytes = [0xb5, 0x6e];
        assert_eq!(read(&bytes, 0, 3, ByteOrder::Big), Some(0b101));
        assert_eq!(read(&bytes, 3, 5, ByteOrder::Big), Some(0b10101));
        assert_eq!(read(&bytes, 5, 6, ByteOrder::Big), Some(0b101_011));
    }

    #[test]
    fn whole_words_and_words_across_nine_bytes() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(read(&bytes, 0, 64, ByteOrder::Little), Some(0x0807_0605_0403_0201));
        assert_eq!(read(&bytes, 8, 64, ByteOrder::Big), Some(0x0203_0405_0607_0809));
        assert_eq!(read(&bytes, 4, 64, ByteOrder::Little), Some(0x9080_7060_5040_3020));
        assert_eq!(read(&bytes, 4, 64, ByteOrder::Big), Some(0x1020_3040_5060_7080));
        assert_eq!(read(&bytes, 16, 64, ByteOrder::Big), None);
        assert_eq!(read(&bytes, 65, 8, ByteOrder::Little), None);
    }

    #[test]
    fn signs_are_extended() {
        assert_eq!(sign(0b111, 3), -1);
        assert_eq!(sign(0b011, 3), 3);
        assert_eq!(sign(u64::MAX, 64), -1);
    }

    #[test]
    fn leb128_as_in_the_dwarf_specification() {
        assert_eq!(leb128(&[0xe5, 0x8e, 0x26]), Some((624_485, 21, 3)));
        let (value, bits, _) = leb128(&[0x80, 0x7f]).unwrap();
        assert_eq!(sign(value, bits), -128);
        assert_eq!(leb128(&[0x80, 0x80]), None);
        assert_eq!(leb128(&[0xff; 11]), None);
    }
}
