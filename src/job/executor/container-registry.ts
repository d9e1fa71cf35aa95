// Where images may be pulled from. A job names a registry, and whoever pulls from it is this host, by its own network: a
// name that leads to the host itself, to its neighbours or to its cloud's metadata is refused, unless the operator lists
// that very registry (jobs.registries).
//
//   name -> registry, path -> listed?  -> pulled, wherever it lies
//                          -> `public` in the list: all its addresses are of the Internet -> pulled, else refused
//                          -> refused
//
// Where a registry sends the runtime from there, and whether its name still has that address, container-way.ts looks at.
import { BlockList, isIP } from 'node:net';
import { isFault } from '../../base/fault.ts';
import { isPublicAddress } from '../../base/public-address.ts';

/** Stands in the list for every registry that lies on the Internet. */
export const PUBLIC_REGISTRIES = 'public';

export interface RegistryRules {
  /** `public`, and `HOST[:PORT][/PATH]` in small letters. */
  readonly registries: readonly string[];
  /** All addresses of a name. Rejects with a Fault. */
  readonly resolve: (host: string) => Promise<readonly { readonly address: string }[]>;
  /** Whether a proxy of the operator's stands between, which knows names that this host may not. */
  readonly isProxied: (host: string) => boolean;
  /** Of this host, whose services may be open to itself alone; without it, none of the Internet. */
  readonly ownAddresses?: () => readonly string[];
}

export interface ImageName {
  /** As it stands in the list: host in small letters, with its port where the name has one. */
  readonly registry: string;
  /** Whom to look up: an address in its usual form, or a name. */
  readonly host: string;
  /** Of the image in it, without tag and digest. */
  readonly path: string;
}

/** What podman and skopeo read elsewhere than from a registry. `docker:24` is an image of that name. */
const TRANSPORT =
  /^(?:atomic|containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):/;
const REGISTRY = /^([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)\.?(?::(\d{1,5}))?$/;
const PATH = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/;
const TAG = /^[\w.-]{1,128}$/;
const DIGEST = /^[a-z0-9+._-]+:[0-9a-fA-F]{32,128}$/;
const HUB = 'docker.io';
/** Where the runtimes find it. */
const HUB_HOST = 'registry-1.docker.io';

/** As docker and podman read it; null for what is no name of an image in a registry. */
export function parseImageName(name: string): ImageName | null {
  if (TRANSPORT.test(name)) return null;
  const [named = '', digest, ...more] = name.split('@');
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) return null;
  const slash = named.indexOf('/');
  const first = slash === -1 ? '' : named.slice(0, slash);
  const hasRegistry = first === 'localhost' || /[.:A-Z]/.test(first);
  const where = hasRegistry ? readRegistry(first) : { registry: HUB, host: HUB_HOST };
  const [path = '', tag, ...tags] = (hasRegistry ? named.slice(slash + 1) : named).split(':');
  if (where === null || tags.length > 0 || (tag !== undefined && !TAG.test(tag))) return null;
  if (!path.split('/').every((part) => PATH.test(part))) return null;
  return { ...where, path: where.registry === HUB && !path.includes('/') ? `library/${path}` : path };
}

function readRegistry(text: string): Omit<ImageName, 'path'> | null {
  const [, name, port] = REGISTRY.exec(text) ?? [];
  if (name === undefined || Number(port ?? 1) > 65_535) return null;
  const lower = name.toLowerCase();
  if (port === undefined && (lower === HUB || lower === `index.${HUB}`))
    return { registry: HUB, host: HUB_HOST };
  try {
    // It reads numbers as the system does: 0x7f.1, 2130706433 and 0177.0.0.1 are all 127.0.0.1.
    const host = new URL(`http://${lower}/`).hostname;
    return { registry: port === undefined ? host : `${host}:${port}`, host };
  } catch {
    return null;
  }
}

/** Whether the operator names this very registry, so that it is pulled from wherever it lies. */
export function isListed(
  { registry, path }: ImageName,
  { registries }: Pick<RegistryRules, 'registries'>,
): boolean {
  const whole = `${registry}/${path}`;
  // A host may be called `public`: that word in the list is none.
  return registries.some(
    (one) => one !== PUBLIC_REGISTRIES && (whole === one || whole.startsWith(`${one}/`)),
  );
}

/** The first that is not of the Internet, or is this host's own. */
export function addressElsewhere(
  addresses: readonly string[],
  { ownAddresses }: Pick<RegistryRules, 'ownAddresses'>,
): string | undefined {
  const own = new BlockList();
  for (const one of ownAddresses?.() ?? []) if (isIP(one) !== 0) own.addAddress(one, familyOf(one));
  return addresses.find((one) => !isPublicAddress(one) || own.check(one, familyOf(one)));
}

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Why an image of this name may not be pulled here, a clause; null where it may. Never rejects. */
export async function registryProblem(image: ImageName, rules: RegistryRules): Promise<string | null> {
  const { registry, host } = image;
  if (isListed(image, rules)) return null;
  if (!rules.registries.includes(PUBLIC_REGISTRIES))
    return `its registry ${registry} is none of those that this node pulls from (jobs.registries)`;
  const unless = 'this node pulls from there only if its operator lists it in jobs.registries';
  try {
    const addresses = (await rules.resolve(host)).map(({ address }) => address);
    const other = addressElsewhere(addresses, rules);
    if (other === undefined && addresses.length > 0) return null;
    const at = other === undefined || isIP(host) !== 0 ? registry : `${registry} (${other})`;
    return `its registry ${at} does not lie on the Internet; ${unless}`;
  } catch (error) {
    if (rules.isProxied(host)) return null;
    const why = isFault(error) ? error.message : 'its name cannot be resolved';
    return `nobody can tell where its registry ${registry} lies (${why}); ${unless}`;
  }
}
