// Accelerators of the whole fleet in sums, for the API and for the scheduler's own metrics. Every sum comes with the
// number of devices that it was taken over, so that devices which do not tell are seen to be missing from it.
import { Gauge, type Registry } from 'prom-client';
import type { NodeDeviceView, NodeView } from '../protocol/api.ts';
import { precisions } from '../protocol/device.ts';
import { type DeviceTotals, type FleetTotals, fleetTotals, type Sum } from '../protocol/device-totals.ts';

/** Devices of unreachable nodes are counted; their health, holders and numbers are not in the sums. */
export function totalsOfNodes(nodes: readonly Pick<NodeView, 'devices' | 'state'>[]): FleetTotals {
  return fleetTotals(
    nodes.flatMap(({ devices, state }) =>
      devices.map((view) => ({ view, held: isHeld(view), reachable: state === 'ready' })),
    ),
  );
}

const isHeld = ({ heldBy, partitions }: NodeDeviceView): boolean =>
  heldBy.length > 0 || partitions.some(isHeld);

type Labels = Readonly<Record<string, string>>;

/** Per vendor and model, `flopd_scheduler_accelerator_*`; `_counted` is the number of devices within each sum. */
export function createFleetGauges(registers: Registry[]): (totals: FleetTotals) => void {
  const gauges: Gauge[] = [];
  const gauge = (name: string, help: string, ...labels: string[]): Gauge => {
    const made = new Gauge({
      name: `flopd_scheduler_${name}`,
      help,
      labelNames: ['vendor', 'model', ...labels],
      registers,
    });
    gauges.push(made);
    return made;
  };
  const devices = gauge('accelerators', 'Accelerators of enrolled nodes, by state.', 'state');
  const counted = gauge(
    'accelerator_counted',
    'Accelerators within each sum; the others do not tell.',
    'sum',
  );
  const sums = {
    memory_total_bytes: gauge('accelerator_memory_total_bytes', 'Device memory of reachable accelerators.'),
    memory_used_bytes: gauge('accelerator_memory_used_bytes', 'Device memory in use.'),
    power_watts: gauge('accelerator_power_watts', 'Electrical power of reachable accelerators.'),
    energy_joules: gauge(
      'accelerator_energy_joules',
      'Energy that the reachable accelerators have used since their agents first saw them.',
    ),
    achieved_flops: gauge('accelerator_achieved_flops', 'FLOP/s done now, each device by its method.'),
  };
  const peak = gauge('accelerator_peak_flops', 'Peak FLOP/s, dense.', 'precision');
  const available = gauge(
    'accelerator_available_flops',
    'Peak FLOP/s at the present clock limits, less what is faulty or cordoned.',
    'precision',
  );
  const put = (target: Gauge, name: string, labels: Labels, sum: Sum, more: Labels = {}): void => {
    const [extra] = Object.values(more);
    counted.set({ ...labels, sum: extra === undefined ? name : `${name}_${extra}` }, sum.counted);
    if (sum.value !== null) target.set({ ...labels, ...more }, sum.value);
  };

  function putModel(totals: DeviceTotals): void {
    const labels = { vendor: totals.vendor ?? '', model: totals.model ?? '' };
    const states: readonly (readonly [string, number])[] = [
      ['all', totals.devices],
      ['unreachable', totals.devices - totals.reachable],
      ...Object.entries(totals.health),
      ['takes_jobs', totals.takesJobs],
      ['cordoned', totals.cordoned],
      ['held', totals.held],
      ['simulated', totals.simulated],
    ];
    for (const [state, count] of states) devices.set({ ...labels, state }, count);
    put(sums.memory_total_bytes, 'memory_total_bytes', labels, totals.memoryTotalBytes);
    put(sums.memory_used_bytes, 'memory_used_bytes', labels, totals.memoryUsedBytes);
    put(sums.power_watts, 'power_watts', labels, totals.powerWatts);
    put(sums.energy_joules, 'energy_joules', labels, totals.energyJoules);
    put(sums.achieved_flops, 'achieved_flops', labels, totals.achievedFlops);
    for (const precision of precisions) {
      put(peak, 'peak_flops', labels, totals.peakFlops[precision], { precision });
      put(available, 'available_flops', labels, totals.availableFlops[precision], { precision });
    }
  }

  return (totals) => {
    // Models come and go with their nodes.
    for (const each of gauges) each.reset();
    for (const model of totals.models) putModel(model);
  };
}
