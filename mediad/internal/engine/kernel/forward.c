// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Forwards RTP, and media that is not RTP where a route says so, at tcx or clsact ingress. Whatever it does not know or is not sure of goes
// up to the sockets as if it were not there.

//go:build ignore

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

enum verdict {
	next = -1, // TCX_NEXT and TC_ACT_UNSPEC: the other programs, then the stack
	drop = 2,  // TC_ACT_SHOT
};

// Flags of a route.
enum {
	any_source = 1, // whoever sends
	opaque = 2,     // not RTP: neither its type nor its source is looked at
	discard = 4,    // count and drop
	rewrite = 8,    // SSRC, sequence number and timestamp
};

#define address_words 4
#define ttl_fresh 64
#define not_fragmented 0x4000 // the flag that may be set: DF
#define rtp_header 12

// address is IPv6 or IPv4 mapped into it, in network order like all ports here.
struct address {
	__u32 word[address_words];
};

// place is a port of ours: the key of a route.
struct place {
	struct address at;
	__be16 port;
	__u16 zero;
};

// route is what user space has compiled for packets that arrive at a place. It never changes; another one takes its place.
struct route {
	__u64 types[2]; // bitmap of the payload types that may go
	struct address source, from, to;
	__be16 source_port, from_port, to_port;
	__u16 largest; // IP packet that the next hop takes
	__be32 ssrc;
	__u32 slot;
	__u32 device; // that it leaves by; 0 for the host itself
	__u32 hop_family; // AF_INET or AF_INET6
	struct address hop; // IPv4 in the first word here
	__u32 clock; // Hz, 0 if it is not known
	__be32 new_ssrc;
	__u32 timestamp_add;
	__u16 sequence_add;
	__u8 tos, flags;
};

// count is what has been seen of a route since its slot was taken.
struct count {
	__u64 packets, bytes; // of UDP payload
	__u64 last;           // CLOCK_MONOTONIC in ns
	__u64 position;       // extended highest sequence number << 32 | its timestamp
	__u32 type;           // of the last packet
	__u32 transit, jitter; // RFC 3550 A.8; jitter × 16
	__u32 clock;           // that transit is measured in, 0 for none
};

// The sizes stand in for those the loader works out.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct place);
	__type(value, struct route);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

// packet is where things are in the datagram at hand; offsets from the start of the frame.
struct packet {
	struct place place;
	struct address source;
	__be16 source_port;
	__u16 size;    // of the UDP payload
	__u16 ip_size; // of the IP packet
	__u32 l4, payload;
	bool v6;
};

static __always_inline void map_v4(struct address *a, __be32 v4)
{
	a->word[0] = a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = v4;
}

static __always_inline bool equal(const struct address *a, const struct address *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] && a->word[1] == b->word[1] && a->word[0] == b->word[0];
}

// parse takes whole UDP packets without IP options, and false else.
static __always_inline bool parse(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 l3 = sizeof(struct ethhdr);
	struct udphdr *udp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + l3;
		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->version != 4 || ip->protocol != IPPROTO_UDP || ip->ttl <= 1 ||
		    (ip->frag_off & ~bpf_htons(not_fragmented)))
			return false;
		map_v4(&p->place.at, ip->daddr);
		map_v4(&p->source, ip->saddr);
		p->ip_size = bpf_ntohs(ip->tot_len);
		p->l4 = l3 + sizeof(*ip);
		p->v6 = false;
		udp = (void *)(ip + 1);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + l3;
		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP || ip->hop_limit <= 1)
			return false;
		__builtin_memcpy(&p->place.at, &ip->daddr, sizeof(p->place.at));
		__builtin_memcpy(&p->source, &ip->saddr, sizeof(p->source));
		p->ip_size = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		p->l4 = l3 + sizeof(*ip);
		p->v6 = true;
		udp = (void *)(ip + 1);
	} else {
		return false;
	}
	if ((void *)(udp + 1) > end || (p->v6 && !udp->check))
		return false;
	p->place.port = udp->dest;
	p->place.zero = 0;
	p->source_port = udp->source;
	p->payload = p->l4 + sizeof(*udp);
	__u16 size = bpf_ntohs(udp->len);
	// padding of a short frame must not go on, nor what has been cut off
	if (size <= sizeof(*udp) || p->ip_size != p->l4 - l3 + size || skb->len != l3 + p->ip_size)
		return false;
	p->size = size - sizeof(*udp);
	return true;
}

// rtp is what of an RTP header is looked at.
struct rtp {
	__u16 sequence;
	__u32 timestamp;
	__be32 ssrc;
	__u8 type;
};

// whole reports whether what follows an RTP header's fixed part, contributors and an extension, is inside the packet (RFC 3550 5.1, 5.3.1).
static __always_inline bool whole(struct __sk_buff *skb, const struct packet *p, __u8 first)
{
	__u32 size = rtp_header + 4 * (first & 0x0f);
	if (first & 0x10) {
		__be16 extension[2];
		if (p->size < size + 4 || bpf_skb_load_bytes(skb, p->payload + size, extension, sizeof(extension)))
			return false;
		size += 4 + 4 * bpf_ntohs(extension[1]);
	}
	return p->size >= size;
}

// look reads the RTP header; false for what is not RTP (RFC 7983, RFC 5761 section 4).
static __always_inline bool look(struct __sk_buff *skb, const struct packet *p, struct rtp *r)
{
	struct {
		__u8 first, type;
		__be16 sequence;
		__be32 timestamp, ssrc;
	} h;

	if (p->size < rtp_header || bpf_skb_load_bytes(skb, p->payload, &h, sizeof(h)))
		return false;
	r->type = h.type & 0x7f;
	if (h.first >> 6 != 2 || (r->type >= 64 && r->type < 96))
		return false;
	if ((h.first & 0x1f) && !whole(skb, p, h.first))
		return false;
	r->sequence = bpf_ntohs(h.sequence);
	r->timestamp = bpf_ntohl(h.timestamp);
	r->ssrc = h.ssrc;
	return true;
}

// take counts a packet.
static __always_inline void take(struct count *c, const struct packet *p)
{
	__sync_fetch_and_add(&c->packets, 1);
	__sync_fetch_and_add(&c->bytes, p->size);
	c->last = bpf_ktime_get_ns();
}

// follow takes note of the sequence number and the arrival of an RTP packet.
static __always_inline void follow(struct count *c, const struct rtp *r, __u32 clock)
{
	__u32 highest = c->position >> 32;
	__s16 ahead = r->sequence - (__u16)highest;
	if (ahead >= 0)
		c->position = (__u64)(highest + ahead) << 32 | r->timestamp;
	if (c->type != r->type)
		c->type = r->type;
	if (!clock)
		return;
	const __u64 second = 1000000000;
	__u32 arrival = c->last / second * clock + c->last % second * clock / second;
	__u32 transit = arrival - r->timestamp;
	if (c->clock == clock) {
		__s32 d = transit - c->transit;
		if (d < 0)
			d = -d;
		if ((__u32)d < clock) // a jump of more than a second is another stream of timestamps
			c->jitter += d - ((c->jitter + 8) >> 4);
	}
	c->transit = transit;
	c->clock = clock;
}

// put writes the RTP header anew and keeps the checksum.
static __always_inline int put(struct __sk_buff *skb, const struct packet *p, const struct rtp *r, const struct route *to)
{
	struct {
		__be32 first, timestamp, ssrc;
	} before, after;

	if (bpf_skb_load_bytes(skb, p->payload, &before, sizeof(before)))
		return -1;
	after.first = (before.first & bpf_htonl(0xffff0000)) | bpf_htonl((__u16)(r->sequence + to->sequence_add));
	after.timestamp = bpf_htonl(r->timestamp + to->timestamp_add);
	after.ssrc = to->new_ssrc;
	__s64 change = bpf_csum_diff((__be32 *)&before, sizeof(before), (__be32 *)&after, sizeof(after), 0);
	if (bpf_skb_store_bytes(skb, p->payload, &after, sizeof(after), 0))
		return -1;
	return bpf_l4_csum_replace(skb, p->l4 + offsetof(struct udphdr, check), 0, change, BPF_F_MARK_MANGLED_0);
}

// readdress makes the packet one that we send: addresses, ports, TTL and TOS.
static __always_inline int readdress(struct __sk_buff *skb, const struct packet *p, const struct route *to)
{
	const __u32 l3 = sizeof(struct ethhdr), check = p->l4 + offsetof(struct udphdr, check);
	__be32 ports[2] = {(__u32)p->source_port | (__u32)p->place.port << 16, (__u32)to->from_port | (__u32)to->to_port << 16};
	__s64 change;

	if (p->v6) {
		struct address pair[2] = {to->from, to->to};
		struct address old[2] = {p->source, p->place.at};
		change = bpf_csum_diff(old[0].word, sizeof(old), pair[0].word, sizeof(pair), 0);
		__be32 class = bpf_htonl(6 << 28 | to->tos << 20);
		__u8 hops = ttl_fresh;
		if (bpf_skb_store_bytes(skb, l3 + offsetof(struct ipv6hdr, saddr), pair, sizeof(pair), 0) ||
		    bpf_skb_store_bytes(skb, l3, &class, sizeof(class), 0) ||
		    bpf_skb_store_bytes(skb, l3 + offsetof(struct ipv6hdr, hop_limit), &hops, sizeof(hops), 0))
			return -1;
	} else {
		__be32 pair[2] = {to->from.word[3], to->to.word[3]};
		__be32 old[2] = {p->source.word[3], p->place.at.word[3]};
		change = bpf_csum_diff(old, sizeof(old), pair, sizeof(pair), 0);
		struct iphdr ip;
		if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)))
			return -1;
		ip.saddr = pair[0];
		ip.daddr = pair[1];
		ip.tos = to->tos;
		ip.ttl = ttl_fresh;
		ip.check = 0;
		__s64 sum = bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0);
		sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
		ip.check = ~((sum & 0xffff) + (sum >> 16));
		if (bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0))
			return -1;
	}
	if (bpf_l4_csum_replace(skb, check, 0, change, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0))
		return -1;
	change = bpf_csum_diff(&ports[0], sizeof(ports[0]), &ports[1], sizeof(ports[1]), 0);
	if (bpf_l4_csum_replace(skb, check, 0, change, BPF_F_MARK_MANGLED_0))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4, &ports[1], sizeof(ports[1]), 0);
}

// ours reports whether a packet is one that the route is for.
static __always_inline bool ours(struct __sk_buff *skb, const struct packet *p, const struct route *to, struct rtp *r)
{
	if (!(to->flags & any_source) && (p->source_port != to->source_port || !equal(&p->source, &to->source)))
		return false;
	if (!(to->flags & discard) && (p->ip_size > to->largest || (!to->device && skb->ifindex != 1)))
		return false; // the host itself is reached from the loopback device alone
	if (to->flags & opaque)
		return true;
	return look(skb, p, r) && r->ssrc == to->ssrc && (to->types[r->type >> 6 & 1] >> (r->type & 63) & 1);
}

SEC("tc")
int forward(struct __sk_buff *skb)
{
	struct packet p;
	struct rtp r = {};

	// several datagrams in one, a frame for somebody else, and one whose VLAN device has its turn later
	if (skb->gso_size || skb->pkt_type != PACKET_HOST || skb->vlan_present || !parse(skb, &p))
		return next;
	struct route *to = bpf_map_lookup_elem(&routes, &p.place);
	if (!to || !ours(skb, &p, to, &r))
		return next;
	__u32 slot = to->slot;
	struct count *c = bpf_map_lookup_elem(&counts, &slot);
	if (!c)
		return next;
	take(c, &p);
	if (!(to->flags & opaque))
		follow(c, &r, to->clock);
	if (to->flags & discard)
		return drop;
	if ((to->flags & rewrite) && put(skb, &p, &r, to))
		return drop;
	if (readdress(skb, &p, to))
		return drop;
	if (!to->device)
		return next;
	struct bpf_redir_neigh hop = {.nh_family = to->hop_family};
	__builtin_memcpy(hop.ipv6_nh, &to->hop, sizeof(hop.ipv6_nh));
	return bpf_redirect_neigh(to->device, &hop, sizeof(hop), 0);
}
