// The list of everything that is fuzzed. To add one: an entry in a file of targets/, with a seed that is read well.
import type { Target } from './target.ts';
import { jobTargets } from './targets/jobs.ts';
import { linkTargets } from './targets/link.ts';
import { orderTargets } from './targets/orders.ts';
import { trustTargets } from './targets/trust.ts';
import { vendorTargets } from './targets/vendors.ts';
import { wordTargets } from './targets/words.ts';

export function createTargets(): readonly Target[] {
  return [...linkTargets, ...jobTargets, ...orderTargets, ...trustTargets, ...wordTargets, ...vendorTargets];
}
