// A mend of kafkajs 2.2.4. After each answer its queue of requests looks for ones that wait and sets a timer to look
// again, though none waits, and to a time that is past: every connection wakes the process once a millisecond for ever.
// Mended, it sets the timer only for requests that wait for the end of a quota's throttling. What remains is its look
// for requests that are overdue, every 100 ms.
import RequestQueue from 'kafkajs/src/network/requestQueue';

const schedule = RequestQueue.prototype.scheduleCheckPendingRequests;

RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleWhenSomeWait(): void {
  if (this.pending.length > 0) schedule.call(this);
};

export { RequestQueue };
