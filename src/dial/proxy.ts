// Which proxy stands between, by the environment: `https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`, in small letters
// or capitals. What is on this machine is never asked of a proxy on another.
import { getProxyForUrl } from 'proxy-from-env';
import { Fault } from '../base/fault.ts';
import { isLoopbackName } from '../base/loopback.ts';

/** The proxy for an address, or null for the direct way. Throws DIAL_PROXY_UNFIT. */
export type ProxyOf = (url: URL) => URL | null;

/** By the environment of this process. */
export const proxyOfEnvironment: ProxyOf = (url) => {
  if (isLoopback(url.hostname)) return null;
  const text = getProxyForUrl(`${isTls(url) ? 'https:' : 'http:'}//${url.host}/`);
  if (text === '') return null;
  let proxy: URL | null = null;
  try {
    proxy = new URL(text);
  } catch {
    // Said below, without the text: it may hold a password.
  }
  if (proxy !== null && (proxy.protocol === 'http:' || proxy.protocol === 'https:')) return proxy;
  throw new Fault(
    'DIAL_PROXY_UNFIT',
    'the proxy that the environment names for the scheduler is no URL of one',
    {
      field: isTls(url) ? 'https_proxy' : 'http_proxy',
      remedy: 'write it as http://HOST:PORT, or name the scheduler in no_proxy',
    },
  );
};

export function isTls(url: URL): boolean {
  return url.protocol === 'https:' || url.protocol === 'wss:';
}

/** A host of this machine, by its name or address alone. */
export function isLoopback(hostname: string): boolean {
  return isLoopbackName(hostname) || hostname.endsWith('.localhost');
}

/** A proxy as it may be shown: without user and password. */
export function describeProxy(proxy: URL): string {
  return `${proxy.protocol}//${proxy.host}`;
}
