//! Bounds that keep a hostile input from costing more than it should.

/// Below this many bytes of text [`Limits::max_ratio`] is not looked at: a short log of equal lines may compress to almost nothing.
pub const RATIO_FLOOR_BYTES: u64 = 64 << 20;

/// What decoding may cost. A stream that goes over one ends in an error that names the field.
///
/// None of them applies to plain input, which is not expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text a single stream may give. Default 1 TiB: real logs reach tens of GB.
    pub max_decompressed_bytes: u64,
    /// Bytes of text for each byte of input, looked at once a stream gave [`RATIO_FLOOR_BYTES`]. Default 1,000: real logs reach
    /// 100, gzip can reach 1,032 and zstd more than 30,000.
    pub max_ratio: u64,
    /// Bytes of one LZ4 block or snappy chunk, before and after decoding. Default 64 MiB: lz4-java's largest block has 32 MiB,
    /// Spark's default is 32 KiB.
    pub max_block_bytes: u64,
    /// Base-2 logarithm of the largest zstd window, which is the memory a frame may ask for. Default 27 (128 MiB), as much as
    /// zstd's highest level uses; 10 to 31.
    pub zstd_window_log_max: u32,
    /// Damaged places a stream may have before decoding stops there. Default 1,000.
    pub max_losses: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_decompressed_bytes: 1 << 40,
            max_ratio: 1_000,
            max_block_bytes: 64 << 20,
            zstd_window_log_max: 27,
            max_losses: 1_000,
        }
    }
}
