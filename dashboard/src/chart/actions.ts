/** What can be done with a run where it is met: in a tooltip, a legend, a row. */
export interface RunActions {
  hide?: (id: string) => void;
  baseline?: (id: string) => void;
  /** Whether a run's page can be opened from here; it can unless this says no. */
  open?: false;
}
