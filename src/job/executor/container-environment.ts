// The environment of a job in a container. Pure.
import type { Image } from './container-image.ts';
import type { StartRequest } from './executor.ts';

/** Programs are found by what the image says of these, not by where the host has its own; the job's word counts most. */
const IMAGE_DECIDES = ['PATH', 'LANG'];
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What the image brings, and above it all that a process job gets, without the names in `dropped`. */
export function environmentOf(
  { environment, spec }: Pick<StartRequest, 'environment' | 'spec'>,
  image: Image,
  dropped: readonly string[],
): Record<string, string> {
  const ofImage: Record<string, string> = { PATH };
  for (const entry of image.environment) {
    const at = entry.indexOf('=');
    if (at > 0) ofImage[entry.slice(0, at)] = entry.slice(at + 1);
  }
  const result: Record<string, string> = { ...ofImage, ...environment };
  for (const name of IMAGE_DECIDES) {
    const value = spec.environment[name] ?? ofImage[name];
    if (value !== undefined) result[name] = value;
  }
  for (const name of dropped) delete result[name];
  return result;
}
