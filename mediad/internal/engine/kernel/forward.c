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
#define l3 sizeof(struct ethhdr)
#define loopback 1 // its index in every namespace

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

// packet is what of a datagram is looked at.
struct packet {
	struct place place;
	struct address source;
	__be16 source_port;
	__u16 size;    // of the UDP payload
	__u16 ip_size; // of the IP packet
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

// parse finds the UDP header of whole packets without IP options; 0 if it is something else.
static __always_inline struct udphdr *parse(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp;
	__u16 head;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + l3;
		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->version != 4 || ip->protocol != IPPROTO_UDP || ip->ttl <= 1 ||
		    (ip->frag_off & ~bpf_htons(not_fragmented)))
			return 0;
		map_v4(&p->place.at, ip->daddr);
		map_v4(&p->source, ip->saddr);
		p->ip_size = bpf_ntohs(ip->tot_len);
		p->v6 = false;
		head = sizeof(*ip);
		udp = (void *)(ip + 1);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + l3;
		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP || ip->hop_limit <= 1)
			return 0;
		__builtin_memcpy(&p->place.at, &ip->daddr, sizeof(p->place.at));
		__builtin_memcpy(&p->source, &ip->saddr, sizeof(p->source));
		p->ip_size = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		p->v6 = true;
		head = sizeof(*ip);
		udp = (void *)(ip + 1);
	} else {
		return 0;
	}
	if ((void *)(udp + 1) > end || (p->v6 && !udp->check))
		return 0;
	p->place.port = udp->dest;
	p->place.zero = 0;
	p->source_port = udp->source;
	__u16 size = bpf_ntohs(udp->len);
	// padding of a short frame must not go on, nor what has been cut off
	if (size <= sizeof(*udp) || p->ip_size != head + size || skb->len != l3 + p->ip_size)
		return 0;
	p->size = size - sizeof(*udp);
	return udp;
}

// rtp is the fixed part of an RTP header.
struct rtp {
	__u8 first, type;
	__be16 sequence;
	__be32 timestamp, ssrc;
};

// whole reports whether what follows an RTP header's fixed part, contributors and an extension, is inside the packet (RFC 3550 5.1, 5.3.1).
static __always_inline bool whole(struct __sk_buff *skb, const struct packet *p, __u8 first)
{
	__u32 size = sizeof(struct rtp) + 4 * (first & 0x0f);
	if (first & 0x10) {
		__u32 at = l3 + (p->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct udphdr) + size;
		__be16 extension[2];
		if (p->size < size + 4 || bpf_skb_load_bytes(skb, at, extension, sizeof(extension)))
			return false;
		size += 4 + 4 * bpf_ntohs(extension[1]);
	}
	return p->size >= size;
}

// look reads the RTP header; false for what is not RTP (RFC 7983, RFC 5761 section 4).
static __always_inline bool look(struct __sk_buff *skb, const struct packet *p, const struct udphdr *udp, struct rtp *r)
{
	const struct rtp *h = (const void *)(udp + 1);

	if ((void *)(h + 1) > (void *)(long)skb->data_end || p->size < sizeof(*h))
		return false;
	*r = *h;
	r->type &= 0x7f;
	if (r->first >> 6 != 2 || (r->type >= 64 && r->type < 96))
		return false;
	return !(r->first & 0x1f) || whole(skb, p, r->first);
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
	__u32 timestamp = bpf_ntohl(r->timestamp);
	__s16 ahead = bpf_ntohs(r->sequence) - (__u16)highest;
	if (ahead >= 0)
		c->position = (__u64)(highest + ahead) << 32 | timestamp;
	if (c->type != r->type)
		c->type = r->type;
	if (!clock)
		return;
	const __u64 second = 1000000000;
	__u32 arrival = c->last / second * clock + c->last % second * clock / second;
	__u32 transit = arrival - timestamp;
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

// exchange is the change of a checksum by 32 bits that become others; changes add up.
static __always_inline __u64 exchange(__u32 old, __u32 new)
{
	return (__u64)(__u32)~old + new;
}

// settle makes a sum of changes one of 32 bits.
static __always_inline __u32 settle(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

// fold makes it a checksum of 16 bits.
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

// shift makes the RTP header that goes on, and returns the change of the checksum.
static __always_inline __u64 shift(struct rtp *h, const struct route *to)
{
	struct rtp was = *h;

	h->sequence = bpf_htons(bpf_ntohs(h->sequence) + to->sequence_add);
	h->timestamp = bpf_htonl(bpf_ntohl(h->timestamp) + to->timestamp_add);
	h->ssrc = to->new_ssrc;
	return exchange(was.sequence, h->sequence) + exchange(was.timestamp, h->timestamp) + exchange(was.ssrc, h->ssrc);
}

// send makes the packet one that we send: addresses, ports, TTL, TOS and RTP header. The checksums go first, since that makes the kernel
// look at the packet anew; in a packet whose checksum the hardware will work out only the addresses count for it.
static __always_inline int send(struct __sk_buff *skb, const struct packet *p, const struct route *to, struct rtp *r)
{
	const __u32 head = l3 + (p->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	const __u32 check = head + offsetof(struct udphdr, check);
	__u64 addresses = exchange(p->source.word[3], to->from.word[3]) + exchange(p->place.at.word[3], to->to.word[3]);
	__u64 others = exchange(p->source_port, to->from_port) + exchange(p->place.port, to->to_port);

	if (p->v6) {
		for (int i = 0; i < address_words - 1; i++)
			addresses += exchange(p->source.word[i], to->from.word[i]) + exchange(p->place.at.word[i], to->to.word[i]);
	}
	if (to->flags & rewrite)
		others += shift(r, to);
	if (bpf_l4_csum_replace(skb, check, 0, settle(addresses), BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) ||
	    bpf_l4_csum_replace(skb, check, 0, settle(others), BPF_F_MARK_MANGLED_0))
		return -1;

	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp;
	if (p->v6) {
		struct ipv6hdr *ip = data + l3;
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return -1;
		*(__be32 *)ip = bpf_htonl(6 << 28 | to->tos << 20); // and no flow label
		ip->hop_limit = ttl_fresh;
		__builtin_memcpy(&ip->saddr, &to->from, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &to->to, sizeof(ip->daddr));
	} else {
		struct iphdr *ip = data + l3;
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return -1;
		__be16 *word = (void *)ip; // the first has the TOS, the fifth the TTL
		__u32 sum = (__u16)~ip->check + fold(settle(addresses)) + (__u16)~word[0] + (__u16)~word[4];
		ip->tos = to->tos;
		ip->ttl = ttl_fresh;
		ip->check = ~fold(sum + word[0] + word[4]);
		ip->saddr = to->from.word[3];
		ip->daddr = to->to.word[3];
	}
	udp->source = to->from_port;
	udp->dest = to->to_port;
	if (to->flags & rewrite) {
		struct rtp *h = (void *)(udp + 1);
		if ((void *)(h + 1) > end)
			return -1;
		h->sequence = r->sequence;
		h->timestamp = r->timestamp;
		h->ssrc = r->ssrc;
	}
	return 0;
}

// ours reports whether a packet is one that the route is for.
static __always_inline bool ours(struct __sk_buff *skb, const struct packet *p, const struct udphdr *udp, const struct route *to, struct rtp *r)
{
	if (!(to->flags & any_source) && (p->source_port != to->source_port || !equal(&p->source, &to->source)))
		return false;
	if (!(to->flags & discard) && (p->ip_size > to->largest || (!to->device && skb->ifindex != loopback)))
		return false; // the host itself is reached from the loopback device alone
	if (to->flags & opaque)
		return true;
	return look(skb, p, udp, r) && r->ssrc == to->ssrc && (to->types[r->type >> 6 & 1] >> (r->type & 63) & 1);
}

SEC("tc")
int forward(struct __sk_buff *skb)
{
	struct packet p;
	struct rtp r = {};

	// several datagrams in one, a frame for somebody else, and one whose VLAN device has its turn later
	if (skb->gso_size || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return next;
	struct udphdr *udp = parse(skb, &p);
	if (!udp)
		return next;
	struct route *to = bpf_map_lookup_elem(&routes, &p.place);
	if (!to || !ours(skb, &p, udp, to, &r))
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
	if (send(skb, &p, to, &r))
		return drop;
	if (!to->device)
		return next;
	struct bpf_redir_neigh hop = {.nh_family = to->hop_family};
	__builtin_memcpy(hop.ipv6_nh, &to->hop, sizeof(hop.ipv6_nh));
	return bpf_redirect_neigh(to->device, &hop, sizeof(hop), 0);
}
