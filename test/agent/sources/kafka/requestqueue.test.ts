import { Kafka, logLevel } from 'kafkajs';
import { RequestQueue } from '../../../../agent/sources/kafka/requestqueue';

const THROTTLED_MS = 1000;
const logger = new Kafka({ brokers: ['127.0.0.1:1'], logLevel: logLevel.NOTHING }).logger();

const sent: number[] = [];
let queue: RequestQueue;
beforeEach(() => {
  jest.useFakeTimers();
  sent.length = 0;
  queue = new RequestQueue({ requestTimeout: 1, logger });
});
afterEach(() => {
  queue.destroy();
  jest.useRealTimers();
});

const ask = (correlationId: number): void =>
  queue.push({
    entry: { correlationId, resolve: () => undefined, reject: () => undefined },
    expectResponse: true,
    sendRequest: () => sent.push(correlationId),
  });
const answer = (correlationId: number): void =>
  queue.fulfillRequest({ correlationId, payload: Buffer.alloc(0), size: 0 });

test('an answer leaves no timer when nothing waits', () => {
  ask(1);
  answer(1);
  expect(sent).toEqual([1]);
  expect(jest.getTimerCount()).toBe(0);
});

test('what a throttling holds back goes out at its end, and then no timer is left', () => {
  queue.maybeThrottle(THROTTLED_MS);
  ask(1);
  ask(2);
  jest.advanceTimersByTime(THROTTLED_MS - 1);
  expect(sent).toEqual([]);
  jest.advanceTimersByTime(2);
  expect(sent).toEqual([1, 2]);
  answer(1);
  answer(2);
  expect(jest.getTimerCount()).toBe(0);
});
