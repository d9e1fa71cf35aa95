// The places where a crash test may strike. Each is passed once per attempt, in about this order; `hit` does nothing
// in the field, and in tests may kill the process, throw or wait.

export const faultPoints = [
  'order.received',
  'admission.decided',
  'folder.made',
  'intent.written',
  'intent.synced',
  'inputs.staged',
  'shim.started',
  'start.answered',
  'started.seen',
  'started.sent',
  'output.first',
  'stop.written',
  'stop.synced',
  'stop.told',
  'exit.seen',
  'outputs.collected',
  'settle.read',
  'result.written',
  'result.synced',
  'result.sent',
  'result.acknowledged',
  'outputs.uploaded',
  'cleanup.begun',
  'folder.removed',
  'done.written',
] as const;

export type FaultPoint = (typeof faultPoints)[number];
export type Hit = (point: FaultPoint) => void;
