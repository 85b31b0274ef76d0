//! The buckets of blocks: a two-choice cuckoo table with three places a bucket (pure).

use ebpf_common::filter::v6::{BUCKET, Bucket, buckets, cut_hash};

use super::Block;

/// Moves of one insertion before another seed is tried; a table two thirds full needs few.
const MOVES_MAX: usize = 512;

/// Places of a bucket, each with the number of a block.
type Places = [Option<usize>; BUCKET];

/// Returns a seed and so many buckets, a power of two, with all blocks; at most two for each bucket.
pub(super) fn lay_out(blocks: &[Block], count: usize) -> (u64, Vec<Bucket>) {
    assert!(blocks.len() <= 2 * count, "{} blocks for {count} buckets", blocks.len());
    let (seed, places) = (1u64..)
        .map(|attempt| attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .find_map(|seed| Some((seed, try_to_lay_out(blocks, count, seed)?)))
        .expect("one of 2^64 seeds");
    (seed, places.iter().map(|places| filled(blocks, places)).collect())
}

fn try_to_lay_out(blocks: &[Block], count: usize, seed: u64) -> Option<Vec<Places>> {
    let choices: Vec<[u32; 2]> = blocks
        .iter()
        .map(|block| buckets(cut_hash(block.words, block.cut, seed), count as u32 - 1))
        .collect();
    let mut table: Vec<Places> = vec![[None; BUCKET]; count];
    for number in 0..blocks.len() {
        let mut moving = number;
        let mut at = choices[moving][0];
        let mut moves = 0;
        loop {
            let [first, second] = choices[moving];
            let other = if at == first { second } else { first };
            let free = [at, other].into_iter().find_map(|bucket| {
                let place = table[bucket as usize].iter().position(Option::is_none)?;
                Some((bucket as usize, place))
            });
            if let Some((bucket, place)) = free {
                table[bucket][place] = Some(moving);
                break;
            }
            moves += 1;
            if moves > MOVES_MAX {
                return None;
            }
            // Another of its places each time, so that it does not go in circles.
            let resident = table[at as usize][moves % BUCKET].replace(moving);
            moving = resident.expect("the bucket is full");
            let [first, second] = choices[moving];
            at = if at == first { second } else { first };
        }
    }
    Some(table)
}

fn filled(blocks: &[Block], places: &Places) -> Bucket {
    let mut bucket = Bucket::default();
    for (place, number) in places.iter().enumerate() {
        let Some(block) = number.map(|number| &blocks[number]) else { continue };
        bucket.blocks[place] = block.words;
        bucket.values[place] = block.value;
        bucket.cuts[place] = block.cut as u8 + 1;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_block_is_in_one_of_its_buckets_however_full_they_are() {
        for count in [8u64, 64, 4_096] {
            for fill in [1, count, 2 * count] {
                let block = |n: u64| Block {
                    cut: (n % 3) as u32,
                    words: [(n / 3) << 32, n % 2],
                    value: n as u32,
                };
                let blocks: Vec<Block> = (0..fill).map(block).collect();
                let (seed, table) = lay_out(&blocks, count as usize);
                for block in &blocks {
                    let own = buckets(cut_hash(block.words, block.cut, seed), count as u32 - 1);
                    let holds =
                        own.into_iter().collect::<BTreeSet<_>>().into_iter().flat_map(|at| {
                            let bucket = &table[at as usize];
                            (0..BUCKET).filter(|place| {
                                let cut = u32::from(bucket.cuts[*place]);
                                (bucket.blocks[*place], cut) == (block.words, block.cut + 1)
                                    && bucket.values[*place] == block.value
                            })
                        });
                    assert_eq!(holds.count(), 1, "{block:?} of {fill} in {count}");
                }
                let used: usize =
                    table.iter().map(|b| b.cuts.iter().filter(|cut| **cut != 0).count()).sum();
                assert_eq!(used as u64, fill);
            }
        }
    }
}
