// Which addresses are of the Internet, and which lead to this host, to its neighbours or nowhere (the special-purpose
// registries of IANA: RFC 6890 and its successors).
import { BlockList, isIPv4, isIPv6 } from 'node:net';

/** Loopback, link-local, private, shared (carriers), documentation, benchmarks, multicast, reserved, unspecified. */
const special4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];
/** Within 2000::/3: Teredo and its neighbours, documentation, 6to4. */
const special6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
];
/** Addresses of version 4 as a NAT64 writes them. */
const NAT64 = '64:ff9b::';

interface Lists {
  readonly special: BlockList;
  readonly global6: BlockList;
}
let lists: Lists | null = null;

function buildLists(): Lists {
  const [special, global6] = [new BlockList(), new BlockList()];
  for (const [address, bits] of special4) {
    special.addSubnet(address, bits, 'ipv4');
    special.addSubnet(`${NAT64}${address}`, 96 + bits, 'ipv6');
  }
  for (const [address, bits] of special6) special.addSubnet(address, bits, 'ipv6');
  global6.addSubnet('2000::', 3, 'ipv6');
  global6.addSubnet(NAT64, 96, 'ipv6');
  // As sockets of version 6 write version 4; what lies in it is checked as version 4.
  global6.addSubnet('::ffff:0:0', 96, 'ipv6');
  return { special, global6 };
}

/** Whether this is an address of the Internet, in any spelling; false also for what is no address. */
export function isPublicAddress(address: string): boolean {
  lists ??= buildLists();
  const { special, global6 } = lists;
  if (isIPv4(address)) return !special.check(address, 'ipv4');
  if (!isIPv6(address) || address.includes('%')) return false;
  return global6.check(address, 'ipv6') && !special.check(address, 'ipv6');
}
