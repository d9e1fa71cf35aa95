// The places in the scheduler where a crash test may strike; those of the agent are in job/fault-points.ts. `hit` does
// nothing in the field, and in tests may kill the process, throw or wait.

export const schedulerFaultPoints = [
  'submit.received',
  'submit.stored',
  'order.decided',
  'order.asked',
  'order.stored',
  'order.sent',
  'order.acknowledged',
  'started.received',
  'started.stored',
  'output.received',
  'output.synced',
  'cancel.received',
  'cancel.stored',
  'result.received',
  'result.asked',
  'result.stored',
  'fact.acknowledged',
  'hello.received',
  'welcome.sent',
  'return.compared',
] as const;

export type SchedulerFaultPoint = (typeof schedulerFaultPoints)[number];
export type SchedulerHit = (point: SchedulerFaultPoint) => void;
