//! Reads how an endpoint is chosen.

use crate::{
    limits::{
        AGGRESSION_PERCENT, CHOICES, HASH_BALANCE_PERCENT, MAX_MAGLEV_TABLE, MAX_RING_SIZE,
        MAX_SLOW_START, MIN_SLOW_START,
    },
    parse::{
        reader::{Fields, Node, Read, Reported},
        scalar::{duration, whole, word},
    },
    service::{
        BalancingOptions, HashFunction, LeastRequest, LoadBalancing, MaglevTable, RingHash,
        SlowStart,
    },
};

/// Envoy's own defaults.
const DEFAULT_MINIMUM_RING_SIZE: u32 = 1_024;
const DEFAULT_MAGLEV_TABLE: u32 = 65_537;
const DEFAULT_CHOICES: u32 = 2;

const POLICIES: [(&str, LoadBalancing); 5] = [
    ("RoundRobin", LoadBalancing::RoundRobin),
    ("LeastRequest", LoadBalancing::LeastRequest),
    ("Random", LoadBalancing::Random),
    ("Maglev", LoadBalancing::Maglev),
    ("RingHash", LoadBalancing::RingHash),
];

pub(super) fn policy(node: &Node<'_>) -> Read<LoadBalancing> {
    word(node, &POLICIES)
}

/// Reads the particulars, which go with their policy only.
pub(super) fn options(fields: &Fields<'_>, policy: Read<LoadBalancing>) -> Read<BalancingOptions> {
    let ring_hash = fields.optional("ringHash", ring_hash);
    let maglev = fields.optional("maglev", maglev);
    let least_request = fields.optional("leastRequest", least_request);
    let factor =
        fields.optional("hashBalanceFactorPercent", |node| whole(node, HASH_BALANCE_PERCENT));
    let mut fits = Ok(());
    if let Ok(policy) = policy {
        for (field, policies) in [
            ("ringHash", &[LoadBalancing::RingHash][..]),
            ("maglev", &[LoadBalancing::Maglev]),
            ("leastRequest", &[LoadBalancing::LeastRequest]),
            ("hashBalanceFactorPercent", &[LoadBalancing::RingHash, LoadBalancing::Maglev]),
        ] {
            if fields.has(field) && !policies.contains(&policy) {
                fits = Err(misplaced(fields, field, policies));
            }
        }
    }
    let options = BalancingOptions {
        ring_hash: ring_hash?,
        maglev: maglev?,
        least_request: least_request?,
        hash_balance_factor_percent: factor?,
    };
    fits.map(|()| options)
}

fn misplaced(fields: &Fields<'_>, field: &str, policies: &[LoadBalancing]) -> Reported {
    let names = POLICIES.iter().filter(|(_, policy)| policies.contains(policy));
    let names: Vec<&str> = names.map(|(name, _)| *name).collect();
    let names = names.join(" or ");
    let remedy = format!("write loadBalancing: {names}, or remove {field}");
    fields.error(field, format!("needs loadBalancing {names}"), remedy)
}

fn ring_hash(node: &Node<'_>) -> Read<RingHash> {
    let fields = node.fields()?;
    let size = |node: &Node<'_>| whole(node, 1..=MAX_RING_SIZE);
    let minimum = fields.optional("minimumRingSize", size);
    let maximum = fields.or("maximumRingSize", MAX_RING_SIZE, size);
    let functions = [("XXHash", HashFunction::XxHash), ("MurmurHash2", HashFunction::MurmurHash2)];
    let function =
        fields.or("hashFunction", HashFunction::default(), |node| word(node, &functions));
    let fits = match (minimum, maximum) {
        (Ok(Some(minimum)), Ok(maximum)) if minimum > maximum => {
            let message = format!("is more than the maximumRingSize of {maximum}");
            Err(fields.error("minimumRingSize", message, "write at most that"))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let maximum = maximum?;
    let ring = RingHash {
        minimum_ring_size: minimum?.unwrap_or(DEFAULT_MINIMUM_RING_SIZE.min(maximum)),
        maximum_ring_size: maximum,
        hash_function: function?,
    };
    fits.and(known).map(|()| ring)
}

fn maglev(node: &Node<'_>) -> Read<MaglevTable> {
    let fields = node.fields()?;
    let size = fields.or("tableSize", DEFAULT_MAGLEV_TABLE, |node| {
        let size = whole(node, 2..=MAX_MAGLEV_TABLE)?;
        if is_prime(size) {
            return Ok(size);
        }
        let below = (2..size).rev().find(|size| is_prime(*size)).unwrap_or(2);
        Err(node.error("is not a prime", format!("write one, such as {below}")))
    });
    let known = fields.finish();
    let table = MaglevTable { table_size: size? };
    known.map(|()| table)
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| {
            !number.is_multiple_of(divisor) //
        })
}

fn least_request(node: &Node<'_>) -> Read<LeastRequest> {
    let fields = node.fields()?;
    let choices = fields.or("choiceCount", DEFAULT_CHOICES, |node| whole(node, CHOICES));
    let known = fields.finish();
    let least_request = LeastRequest { choice_count: choices? };
    known.map(|()| least_request)
}

pub(super) fn slow_start(node: &Node<'_>) -> Read<SlowStart> {
    let fields = node.fields()?;
    let window = fields.required("window", "a duration such as 30s", |node| {
        duration(node, MIN_SLOW_START, MAX_SLOW_START)
    });
    let aggression = fields.or("aggressionPercent", 100, |node| whole(node, AGGRESSION_PERCENT));
    let least = fields.or("minWeightPercent", 10, |node| whole(node, 1..=100));
    let known = fields.finish();
    let slow_start =
        SlowStart { window: window?, aggression_percent: aggression?, min_weight_percent: least? };
    known.map(|()| slow_start)
}

/// Envoy has slow start with these two only; XDP, which always uses Maglev, with each.
pub(super) fn slow_start_fits(fields: &Fields<'_>, balancing: LoadBalancing) -> Read<()> {
    match balancing {
        LoadBalancing::RoundRobin | LoadBalancing::LeastRequest => Ok(()),
        LoadBalancing::Random | LoadBalancing::Maglev | LoadBalancing::RingHash => {
            let problem = "needs loadBalancing RoundRobin or LeastRequest, since Envoy has it with these only";
            let remedy = "write loadBalancing: RoundRobin (XDP uses Maglev all the same), or remove slowStart";
            Err(fields.error("slowStart", problem, remedy))
        }
    }
}
