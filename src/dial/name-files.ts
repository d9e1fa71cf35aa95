// The two files that say how names become addresses on this host: /etc/hosts and /etc/resolv.conf. Read anew for each
// connection, as the system does: both are small, connections are rare, and either may change while we run.
import { isIP } from 'node:net';

/** Beyond it a hosts file is one of the blocking lists that some people keep; its head is read. */
const HOSTS_BYTES_MAX = 1024 * 1024;
const SEARCH_MAX = 6;
const NDOTS_MAX = 15;

/** The addresses that a hosts file gives a name, in its order; names are compared without regard to case. */
export function hostsAddresses(text: string, name: string): readonly string[] {
  const wanted = name.toLowerCase();
  const found: string[] = [];
  for (const line of text.slice(0, HOSTS_BYTES_MAX).split('\n')) {
    const [address = '', ...names] = (line.split('#', 1)[0] ?? '').trim().split(/\s+/);
    if (isIP(address) === 0 || found.includes(address)) continue;
    if (names.some((one) => one.toLowerCase() === wanted)) found.push(address);
  }
  return found;
}

/** The full names to ask for, in order, as resolv.conf(5) has it: `search`, and `options ndots`. */
export function namesToAsk(resolvConf: string, name: string): readonly string[] {
  if (name.endsWith('.')) return [name.slice(0, -1)];
  let search: string[] = [];
  let ndots = 1;
  for (const line of resolvConf.split('\n')) {
    const [word = '', ...rest] = line.trim().split(/\s+/);
    // The last of the two wins.
    if (word === 'search') search = rest;
    if (word === 'domain') search = rest.slice(0, 1);
    if (word !== 'options') continue;
    for (const option of rest) {
      const match = /^ndots:(\d{1,3})$/.exec(option);
      if (match !== null) ndots = Math.min(NDOTS_MAX, Number(match[1]));
    }
  }
  const domains = search.map((domain) => domain.replace(/^\.+|\.+$/g, '')).filter((domain) => domain !== '');
  const longer = domains.slice(0, SEARCH_MAX).map((domain) => `${name}.${domain}`);
  const dots = name.split('.').length - 1;
  return dots >= ndots ? [name, ...longer] : [...longer, name];
}
