// NVIDIA: its tool, what its devices' state means for jobs, and what a job is given of them.
import type { DeviceGrant, DeviceReading, Vendor } from './accelerator.ts';
import { judgeSignals } from './nvidia/judge.ts';
import { query } from './nvidia/query.ts';
import { judgeEvent } from './nvidia/xid.ts';

export const nvidia: Vendor = {
  name: 'nvidia',
  title: 'NVIDIA',
  level: 'captures',
  tools: ['nvidia-smi'],
  query,
  grant,
  // An id that no device has: an empty value hides all of them too, but some launchers take it for "not set".
  hidden: { CUDA_VISIBLE_DEVICES: 'NoDevFiles', NVIDIA_VISIBLE_DEVICES: 'void' },
  judgeEvent,
  judgeSignals,
};

function grant(devices: readonly DeviceReading[]): DeviceGrant {
  if (devices.length === 0) return { environment: nvidia.hidden, deviceNodes: [] };
  const ids = devices.map(({ id }) => id).join(',');
  const numbers = new Set(devices.map(({ nodeNumber }) => nodeNumber).filter((one) => one !== null));
  return {
    environment: { CUDA_VISIBLE_DEVICES: ids, NVIDIA_VISIBLE_DEVICES: ids, CUDA_DEVICE_ORDER: 'PCI_BUS_ID' },
    deviceNodes: [
      ...[...numbers].map((one) => `/dev/nvidia${one}`),
      '/dev/nvidiactl',
      '/dev/nvidia-uvm',
      '/dev/nvidia-uvm-tools',
      // A MIG instance opens through capability nodes; which of them are its own is not read, so it is given all.
      ...(devices.some(({ parentId }) => parentId !== null) ? ['/dev/nvidia-caps'] : []),
    ],
    cdiNames: devices.map(({ id, index, parentId }) => [
      `nvidia.com/gpu=${id}`,
      ...(parentId === null ? [`nvidia.com/gpu=${index}`] : []),
    ]),
  };
}
