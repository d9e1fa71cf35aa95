// The environment of a job in a container. Pure.
import type { Image } from './container-image.ts';
import type { StartRequest } from './executor.ts';

/** What the image says of these counts, unless the job itself says otherwise: programs are found by it. */
const IMAGE_DECIDES = ['PATH', 'LANG'];

/** The environment of a job: what the image brings, and above it all that a process job gets. */
export function environmentOf(
  { environment, spec }: Pick<StartRequest, 'environment' | 'spec'>,
  image: Image,
  dropped: readonly string[],
): Record<string, string> {
  const result: Record<string, string> = {};
  for (const entry of image.environment) {
    const at = entry.indexOf('=');
    if (at > 0) result[entry.slice(0, at)] = entry.slice(at + 1);
  }
  for (const [key, value] of Object.entries(environment)) {
    const isDecided = IMAGE_DECIDES.includes(key) && key in result && !(key in spec.environment);
    if (!isDecided) result[key] = value;
  }
  for (const key of dropped) delete result[key];
  return result;
}
