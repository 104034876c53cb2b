//! Streams of random numbers that depend on a seed and a place only, so that threads share none.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator of all models.
pub(crate) type Random = Xoshiro256PlusPlus;

/// The stream of one tree, or of one repetition.
pub(crate) fn stream(seed: u64, index: usize) -> Random {
    // Any odd number that is not the step of SplitMix64, which spreads the seed: streams would share its words.
    const STEP: u64 = 0xD1B5_4A32_D192_ED03;
    Random::seed_from_u64(seed.wrapping_add((index as u64).wrapping_mul(STEP)))
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_are_the_same_each_time() {
        let first = |seed, index| -> Vec<u64> {
            let mut random = stream(seed, index);
            (0..4).map(|_| random.next_u64()).collect()
        };
        assert_eq!(first(7, 3), first(7, 3));
        for other in [first(7, 4), first(8, 3)] {
            assert!(first(7, 3).iter().all(|word| !other.contains(word)));
        }
    }
}
