// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Hands datagrams to attached ports to the socket of their worker. Any other packet is looked up as if this program were not there.

//go:build ignore

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char __license[] SEC("license") = "Dual MIT/GPL";

#define AF_INET 2

#define PORTS 65536

// address is a local address; zone is the interface of a link-local one, else 0. IPv4 is mapped into IPv6.
struct address {
	__be32 ip[4];
	__u32 zone;
};

// slots numbers the addresses.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, __u32);
	__uint(max_entries, 1);
} slots SEC(".maps");

// owners tells by slot and port the worker, counted from 1; 0 means that the port is not ours. User space writes into it directly.
struct owners {
	__u8 port[PORTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct owners);
	__uint(max_entries, 1);
} owners SEC(".maps");

// sockets are the workers' sockets: that for IPv4, then that for IPv6 of each.
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2);
} sockets SEC(".maps");

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct address local = {};
	struct owners *owners_of;
	struct bpf_sock *sk;
	bool v6 = ctx->family != AF_INET;
	__u32 *slot, which;
	__u8 worker;

	if (ctx->protocol != IPPROTO_UDP)
		return SK_PASS;
	if (v6) {
		local.ip[0] = ctx->local_ip6[0];
		local.ip[1] = ctx->local_ip6[1];
		local.ip[2] = ctx->local_ip6[2];
		local.ip[3] = ctx->local_ip6[3];
		if ((local.ip[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
			local.zone = ctx->ingress_ifindex;
	} else {
		local.ip[2] = bpf_htonl(0xffff);
		local.ip[3] = ctx->local_ip4;
	}
	slot = bpf_map_lookup_elem(&slots, &local);
	if (!slot)
		return SK_PASS;
	which = *slot;
	owners_of = bpf_map_lookup_elem(&owners, &which);
	if (!owners_of)
		return SK_PASS;
	worker = owners_of->port[ctx->local_port & (PORTS - 1)];
	if (!worker)
		return SK_PASS;
	which = 2 * (worker - 1) + v6;
	sk = bpf_map_lookup_elem(&sockets, &which);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, 0); // fails if a program before this one has chosen
	bpf_sk_release(sk);
	return SK_PASS;
}
