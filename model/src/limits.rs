//! The bounds of a configuration: sizes, counts and durations, each with the reason for it.
//!
//! They keep one input from using up the memory of a node, and every object small enough for the
//! frame in which it is pushed.

use std::{ops::RangeInclusive, time::Duration};

/// The bytes of one input: 10,000 routes and as many services take a quarter of it.
pub const MAX_INPUT_BYTES: usize = 32 << 20;
/// The objects of one input; one input is one Raft entry.
pub const MAX_INPUT_OBJECTS: usize = 50_000;
/// The nesting of a document; the deepest field of the model lies at 9.
pub const MAX_DEPTH: usize = 32;
/// The YAML aliases of one input; what they expand to is bounded by [`MAX_ALIAS_EVENTS`].
pub const MAX_ALIASES: usize = 10_000;
/// The YAML events that aliases may expand to, so that a few lines never become gigabytes.
pub const MAX_ALIAS_EVENTS: usize = 200_000;
/// The errors listed for one input; more help nobody, and the answer stays below a megabyte.
pub const MAX_ERRORS: usize = 1_000;
/// The characters of an offending value that an error repeats.
pub const MAX_SHOWN_VALUE: usize = 80;
/// The canonical bytes of one object, so that 16 fit into one frame of the push.
pub const MAX_OBJECT_BYTES: usize = 1 << 20;

/// The length of a name and of a host (RFC 1035, section 2.3.4).
pub const MAX_NAME_BYTES: usize = 253;
/// The length of a namespace and of a label of a host (RFC 1035, section 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;
/// The labels of one object.
pub const MAX_LABELS: usize = 64;
/// The length of the key of a label.
pub const MAX_LABEL_KEY_BYTES: usize = 128;
/// The length of the value of a label, and of a region or zone.
pub const MAX_LABEL_VALUE_BYTES: usize = 256;

/// The listeners that one route attaches to.
pub const MAX_LISTENERS: usize = 64;
/// The certificates of one listener: each is read, watched and asked for by itself.
pub const MAX_CERTIFICATES: usize = 64;
/// The hosts of one route.
pub const MAX_HOSTS: usize = 256;
/// The access logs of one listener: a file, the standard output, a collector, and one to spare.
pub const MAX_ACCESS_LOGS: usize = 4;
/// The request headers that an access log shows.
pub const MAX_LOG_FIELDS: usize = 32;
/// The connections of one listener: what a node's Envoy takes of all of them together.
pub const MAX_LISTENER_CONNECTIONS: u32 = 200_000;
/// The size of all headers of a request; Envoy's own limit.
pub const MAX_HEADERS_KB: u32 = 8_192;
/// The streams of one HTTP/2 connection: a hundred times what is advised for edges.
pub const MAX_STREAMS: u32 = 10_000;
/// The proxies in front of a listener.
pub const MAX_TRUSTED_HOPS: u32 = 16;
/// The least length of an answer that is compressed: Envoy's own bound, and what no listener would keep in
/// memory at once.
pub const MIN_COMPRESSED_BYTES: RangeInclusive<u32> = 30..=(16 << 20);
/// The rules of one route.
pub const MAX_RULES: usize = 256;
/// The matches of one rule.
pub const MAX_MATCHES: usize = 64;
/// The header matches or query matches of one match, and each list of a header edit.
pub const MAX_CONDITIONS: usize = 32;
/// The services that get copies of the requests of one rule: each copy costs as much as a request.
pub const MAX_MIRRORS: usize = 8;
/// The origins of a CORS policy, and its expressions for origins: each request tries them in turn.
pub const MAX_ORIGINS: usize = 64;
/// The issuers of tokens of one policy: each token is tried with all of them in turn.
pub const MAX_JWT_PROVIDERS: usize = 16;
/// The audiences of one issuer.
pub const MAX_AUDIENCES: usize = 64;
/// The bytes of a JWK set: some hundred keys, and far from the bound of an object.
pub const MAX_JWKS_BYTES: usize = 64 * 1024;
/// The bytes of the name of an issuer or an audience, and of a claim or its value.
pub const MAX_CLAIM_BYTES: usize = 1_024;
/// By how much clocks may differ: more than this is a broken clock.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(10);
/// The longest time after which keys are fetched again: one that was revoked is not for ever.
pub const MAX_JWKS_REFRESH: Duration = Duration::from_hours(24);
/// Prefixes of paths that a policy of logins answers by 401.
pub const MAX_API_PATHS: usize = 32;
/// Bytes of a client's name at an identity provider.
pub const MAX_CLIENT_ID_BYTES: usize = 1_024;
/// Scopes that a login asks for.
pub const MAX_SCOPES: usize = 32;
/// The longest time without a visit in which a session is kept: what browsers keep of a cookie.
pub const MAX_SESSION_LIFETIME: Duration = MAX_COOKIE_TTL;
/// The services of one rule.
pub const MAX_BACKENDS: usize = 64;
/// The endpoints of one service: what a Maglev table of 65,537 slots spreads within 7 %.
pub const MAX_ENDPOINTS: usize = 4_096;
/// The rules of all packet filters together: a packet is matched with all of them at once, by one
/// bit each of a 64-bit word.
pub const MAX_FILTER_RULES: usize = 64;
/// The rules with a rate among them: a packet may have to be within all of their limits, which a
/// program of the kernel has to be shown to do in bounded time.
pub const MAX_RATE_RULES: usize = 8;
/// The rate of a rule, in packets a second: more than a CPU handles, so that all of them together
/// may be limited too.
pub const MAX_PACKETS_PER_SECOND: u32 = 10_000_000;
/// The least burst as milliseconds of its rate: limits are refilled with the kernel's tick, which
/// is 1 to 10 ms, and what exceeds the burst would be lost.
pub const MIN_RATE_BURST_MS: u32 = 10;
/// The greatest burst: one second of the greatest rate.
pub const MAX_RATE_BURST: u32 = MAX_PACKETS_PER_SECOND;
/// The packets a second that a limit must let through for each sender that it counts, where it is
/// about the cluster's own ports: heartbeats, pushes, and a catching-up log at some 50 Mbit/s.
pub const MIN_CLUSTER_PACKETS_PER_SECOND: u32 = 5_000;
/// The priority of a packet filter that comes last.
pub const MAX_FILTER_PRIORITY: u32 = 1_000;
/// The prefixes that stand in one rule; more belong into a list.
pub const MAX_RULE_PREFIXES: usize = 1_024;
/// The lists that one rule refers to: a million prefixes are some tens of lists.
pub const MAX_RULE_LISTS: usize = 128;
/// The ports and ranges of one rule.
pub const MAX_RULE_PORTS: usize = 32;
/// The prefixes of one list; some 50,000 of IPv4 are as large as an object may be.
pub const MAX_LIST_PREFIXES: usize = 65_536;
/// The IPv4 prefixes of all lists and rules together, for which the data plane's tables have room.
pub const MAX_PREFIXES_V4: usize = 1 << 20;
/// The IPv6 prefixes of all lists and rules together.
pub const MAX_PREFIXES_V6: usize = 1 << 17;
/// The listeners of all QoS policies together, for which the data plane's tables have room: 128
/// bytes each, and as many again for each CPU.
pub const MAX_QOS_LISTENERS: usize = 1_000;
/// The bandwidth of a limit: 100 Gbit/s.
pub const MAX_BANDWIDTH_MBPS: u32 = 100_000;
/// The least burst: one frame of 9,000 bytes has to fit, or it would never go.
pub const MIN_BURST_KB: u32 = 10;
/// The greatest burst: 80 ms of the greatest bandwidth.
pub const MAX_BURST_KB: u32 = 1_000_000;
/// The least burst as milliseconds of its bandwidth: limits are refilled with the kernel's tick,
/// which is 1 to 10 ms, and what exceeds the burst would be lost.
pub const MIN_BURST_MS: u32 = 10;
/// The weight of a QoS policy.
pub const MAX_QOS_WEIGHT: u32 = 100;
/// The shortest time that a packet may be allowed to wait.
pub const MIN_LATENCY: Duration = Duration::from_micros(100);
/// The longest time that a packet may be allowed to wait; TCP would send it again by then.
pub const MAX_LATENCY: Duration = Duration::from_secs(1);
/// The expected statuses of a probe.
pub const MAX_STATUSES: usize = 32;

/// The length of a path or file name.
pub const MAX_PATH_BYTES: usize = 2_048;
/// The length of a regular expression.
pub const MAX_REGEX_BYTES: usize = 1_024;
/// The compiled size of a regular expression; ordinary ones take a few kilobytes.
pub const MAX_REGEX_COMPILED_BYTES: usize = 1 << 20;
/// The greatest count in a repetition `{n,m}`; the limit of RE2.
pub const MAX_REGEX_REPEAT: u32 = 1_000;
/// The length of a header name, method or query parameter name.
pub const MAX_TOKEN_BYTES: usize = 256;
/// The length of a header value or of a value to be matched.
pub const MAX_HEADER_VALUE_BYTES: usize = 4_096;
/// The length of the body of a direct response; Envoy's own default limit.
pub const MAX_BODY_BYTES: usize = 4_096;

/// The weight of a service in a rule.
pub const MAX_BACKEND_WEIGHT: u32 = 1_000_000;
/// The weight of an endpoint.
pub const MAX_ENDPOINT_WEIGHT: u32 = 1_000;
/// The tries after the first.
pub const MAX_ATTEMPTS: u32 = 10;
/// The threshold of a health check.
pub const MAX_THRESHOLD: u32 = 100;

/// Steps of a rollout.
pub const MAX_ROLLOUT_STEPS: usize = 16;
/// Nodes that a step names.
pub const MAX_ROLLOUT_NODES: usize = 256;
/// Bytes of a node's name: those of a host name.
pub const MAX_NODE_NAME: usize = 253;
/// The shortest time that a revision runs on a step's nodes before the next: traffic is counted once
/// a second.
pub const MIN_HOLD: Duration = Duration::from_secs(1);
/// The longest time that a revision runs on a step's nodes before the next.
pub const MAX_HOLD: Duration = Duration::from_secs(24 * 3600);
/// The most requests that a gate waits for.
pub const MAX_GATE_REQUESTS: u32 = 1_000_000;
/// The most packets that a gate waits for: some seconds of a busy node.
pub const MAX_GATE_PACKETS: u32 = 100_000_000;

/// The shortest timeout; Envoy counts in milliseconds, and 0 would mean none.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// The longest timeout of a request or of one try.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The longest time that a service may take to permit a request.
pub const MAX_PERMISSION_TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest time that an idle connection or stream is kept; less would cut working ones.
pub const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest time that a client may take to send its headers.
pub const MAX_HEADERS_TIMEOUT: Duration = Duration::from_secs(3600);
/// The longest time to open a connection.
pub const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest delay that a fault puts into a request; a connection that is held costs memory.
pub const MAX_FAULT_DELAY: Duration = Duration::from_secs(600);
/// The longest life of a cookie, and of all else that clients keep: browsers keep none for longer than
/// 400 days (RFC 6265bis, section 5.5).
pub const MAX_COOKIE_TTL: Duration = Duration::from_secs(400 * 86_400);
/// The longest first pause before another try.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The shortest time between probes; faster ones would load the endpoints.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between probes.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// The shortest window of a slow start: XDP changes a weight once a second at most.
pub const MIN_SLOW_START: Duration = Duration::from_secs(1);
/// The longest window of a slow start.
pub const MAX_SLOW_START: Duration = Duration::from_secs(3600);
/// The aggression of a slow start in percent: a tenth root and a tenth power.
pub const AGGRESSION_PERCENT: RangeInclusive<u32> = 10..=1_000;
/// The addresses of all listeners that are announced: each is renewed in the kernel every second.
pub const MAX_ANNOUNCED: usize = 256;
/// The listeners and routes that one limit of requests is for.
pub const MAX_LIMIT_TARGETS: usize = 64;
/// The limits of requests of one listener, and of one route: each request passes all of them, at some
/// microsecond each.
pub const MAX_RATE_LIMITS: usize = 8;
/// The requests of an interval: more than a node forwards in a minute.
pub const MAX_LIMITED_REQUESTS: u32 = 10_000_000;
/// The shortest interval of a limit of requests: what `retry-after` can say.
pub const MIN_LIMIT_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval of a limit of requests: what was counted does not outlive an Envoy.
pub const MAX_LIMIT_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The priority of an endpoint: Envoy's own bound.
pub const MAX_ENDPOINT_PRIORITY: u32 = 127;
/// The places on a hash ring: Envoy's own bound, 8 Mi.
pub const MAX_RING_SIZE: u32 = 8 << 20;
/// The slots of a Maglev table: Envoy's own bound, a prime.
pub const MAX_MAGLEV_TABLE: u32 = 5_000_011;
/// The endpoints that a choice of the least busy one compares.
pub const CHOICES: RangeInclusive<u32> = 2..=100;
/// How busy an endpoint may be in percent of the average: ten times is as good as unbounded.
pub const HASH_BALANCE_PERCENT: RangeInclusive<u32> = 100..=1_000;
/// A limit of connections or requests: what a node has descriptors and memory for, generously.
pub const MAX_BREAKER: u32 = 10_000_000;
/// Events in a row, endpoints or requests that outlier detection counts to.
pub const MAX_OUTLIER_COUNT: u32 = 100_000;
/// The longest time that an endpoint is left out: a day, after which somebody has looked.
pub const MAX_EJECTION_TIME: Duration = Duration::from_secs(24 * 3600);
/// How far below the mean a success rate may be: ten standard deviations.
pub const MAX_STDEV_FACTOR: u32 = 10_000;
/// How much more than its share the healthy part of a priority is trusted with, in percent.
pub const OVERPROVISIONING_PERCENT: RangeInclusive<u32> = 100..=1_000;
/// The places that have shares of their own.
pub const MAX_LOCALITY_WEIGHTS: usize = 256;
/// The names of which an endpoint's certificate has to be for one.
pub const MAX_SUBJECT_ALT_NAMES: usize = 32;
/// The length of a URI in a certificate; a SPIFFE ID has at most as many (SPIFFE ID, section 2.3).
pub const MAX_URI_BYTES: usize = 2_048;
/// The protocols offered by ALPN.
pub const MAX_ALPN: usize = 8;
/// The length of a protocol's name in ALPN (RFC 7301, section 3.1).
pub const MAX_ALPN_BYTES: usize = 255;
/// The servers that are asked for a name; c-ares tries them one after the other.
pub const MAX_RESOLVERS: usize = 8;
/// The shortest time between questions for a name; faster ones would load the server.
pub const MIN_DNS_REFRESH: Duration = Duration::from_secs(1);
/// The longest time between questions for a name.
pub const MAX_DNS_REFRESH: Duration = Duration::from_secs(24 * 3600);
/// The shortest time of PINGs, TCP probes and idle connections: whole seconds are what kernels have.
pub const MIN_KEEPALIVE: Duration = Duration::from_secs(1);
/// The longest silence before a TCP probe, as kernels have it.
pub const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
/// The TCP probes without an answer, as kernels have it.
pub const MAX_KEEPALIVE_PROBES: u32 = 127;
/// The requests that one HTTP/2 connection carries at a time (RFC 9113, section 5.1.1).
pub const MAX_UPSTREAM_STREAMS: u32 = (1 << 31) - 1;
/// The names of one certificate.
pub const MAX_CERTIFICATE_HOSTS: usize = 100;
/// The shortest life of an issued certificate.
pub const MIN_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(60);
/// The longest: what browsers accept (Baseline Requirements, section 6.3.2).
pub const MAX_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(398 * 86_400);
/// The addresses that an ACME server may write to.
pub const MAX_CONTACTS: usize = 8;
/// The length of an e-mail address (RFC 5321, section 4.5.3.1.3).
pub const MAX_EMAIL_BYTES: usize = 254;
/// The bytes of a module: filters in Rust have some hundred kilobytes, those in Go a few million.
pub const MAX_MODULE_BYTES: usize = 16 * 1024 * 1024;
/// The modules of the store: several versions of each that is in use.
pub const MAX_MODULES: usize = 64;
/// The bytes of all modules of the store, which every node keeps in memory and on disk.
pub const MAX_MODULES_BYTES: usize = 128 * 1024 * 1024;
/// The memory of one instance of a module, in MiB. Each worker of an Envoy has one.
pub const MAX_MODULE_MEMORY_MIB: u32 = 512;
/// What an instance may have where nothing is said: thirty times what a filter in Rust begins with.
pub const DEFAULT_MODULE_MEMORY_MIB: u32 = 32;
/// The modules of one listener, and of one route: a request meets two at most, each in a filter of its own.
/// Behind one that keeps a body back, Envoy passes over what stands in the same filter.
pub const MAX_TARGET_MODULES: usize = 1;
/// The highest place among the modules of a request.
pub const MAX_MODULE_ORDER: u32 = 1_000;
/// What a module is configured with, which stands in every route that it is for.
pub const MAX_MODULE_CONFIGURATION_BYTES: usize = 64 * 1024;
/// The length of the name of a filter within a module.
pub const MAX_ROOT_ID_BYTES: usize = 256;
