/**
 * Ask a question again each time it changes, and take the answer to the last one only: an answer that comes late, after the
 * question has changed, is let go. For an effect, which returns what this returns: it takes the question back.
 *
 * `pause`: milliseconds for which the question has to stay as it is before it is asked, while somebody types it.
 */
export function latest<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  take: (answer: T) => void,
  fail: (failure: unknown) => void,
  pause = 0,
): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  const start = () => {
    ask(signal).then(
      (answer) => {
        if (!signal.aborted) take(answer);
      },
      (failure: unknown) => {
        if (!signal.aborted) fail(failure);
      },
    );
  };
  const timer = pause ? setTimeout(start, pause) : (start(), undefined);
  return () => {
    clearTimeout(timer);
    abort.abort();
  };
}
