/** Work that many causes ask for: done at once, and again after a pause at the earliest; causes that come meanwhile count as one. */
interface Paced {
  ask: () => void;
  stop: () => void;
}

/** `pause`: milliseconds between the beginnings of two turns, looked up for each. */
export function paced(work: () => void, pause: () => number): Paced {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let doneAt = -Infinity;
  return {
    ask: () => {
      timer ??= setTimeout(
        () => {
          timer = undefined;
          doneAt = performance.now();
          work();
        },
        Math.max(0, doneAt + pause() - performance.now()),
      );
    },
    stop: () => clearTimeout(timer),
  };
}
