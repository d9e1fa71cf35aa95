// How a container walls in and limits a job: the runtime's doing, in place of the shim's. Pure. The words must not depend
// on what the runtime answers at the moment: a later agent compares them with those of an earlier one.
import type { Containment, OwnWalls } from './executor.ts';

const NO_DISK_LIMIT = 'none (not for containers)';
/** What the protocol takes. */
const WALL_CHARACTERS_MAX = 256;

/** The user and the limits of processes stay as they were decided. */
export function containerWalls(decided: Containment, { spec, deviceNodes }: OwnWalls): Containment {
  const { memoryBytes, diskReadBytesPerSecond, diskWriteBytesPerSecond } = spec.resources;
  const { user } = decided;
  const devices = `granted only: ${deviceNodes.join(' ')}`.slice(0, WALL_CHARACTERS_MAX);
  return {
    ...decided,
    wrap: [],
    filtered: false,
    cgroups: [],
    limits: {
      cpus: 'container',
      ...(memoryBytes === null ? {} : { memory: 'container' }),
      processes: 'container',
      ...(diskReadBytesPerSecond === null ? {} : { diskRead: NO_DISK_LIMIT }),
      ...(diskWriteBytesPerSecond === null ? {} : { diskWrite: NO_DISK_LIMIT }),
    },
    isolation: {
      sandbox: 'container',
      user: user === null ? "the container's root, without capabilities" : `uid ${user.uid}`,
      processes: 'own process namespace',
      files: 'those of its image, own workspace',
      network: spec.network === 'none' ? 'none' : "the host's",
      devices: deviceNodes.length === 0 ? 'none' : devices,
      privileges: 'no new privileges, no capabilities',
    },
  };
}
