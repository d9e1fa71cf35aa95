// Whom a limit by address counts as one: an IPv4 address, or the /64 of an IPv6 address, of which every host has 2^64.
const GROUPS = 8;
const NETWORK_GROUPS = 4;

export function addressGroup(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  if (!address.includes(':') || address.startsWith('::ffff:')) return address;
  const [head = '', tail = null] = (address.split('%')[0] ?? '').split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === null || tail === '' ? [] : tail.split(':');
  const zeros = new Array<string>(Math.max(0, GROUPS - first.length - last.length)).fill('0');
  const all = tail === null ? first : [...first, ...zeros, ...last];
  return `${all.slice(0, NETWORK_GROUPS).join(':')}::/64`;
}
