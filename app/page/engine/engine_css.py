"""What the tab looks like, in the theme's colours, for light and dark."""

ENGINE_CSS = """
.octavo-engine { font-variant-numeric: tabular-nums; }
.octavo-engine h3 { font-size: var(--text-md); font-weight: 600; margin: 0 0 .5rem; }
.octavo-engine section, .octavo-engine details { margin-top: 1.5rem; }
.octavo-engine small, .octavo-engine dt, .octavo-engine figure p, .octavo-legend {
  color: var(--body-text-color-subdued); font-size: var(--text-sm); font-weight: 400; }
.octavo-engine dl, .octavo-engine dd, .octavo-engine figure { margin: 0; }
.octavo-engine b { font-weight: 600; color: var(--body-text-color); }
.octavo-stale { opacity: .45; }
.octavo-trouble { border-left: 3px solid #d97706; background: var(--background-fill-secondary);
  padding: .6rem .9rem; margin: 0 0 1rem; border-radius: var(--radius-sm); }
.octavo-tiles { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); }
.octavo-tiles div, .octavo-plots figure { border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); padding: .75rem 1rem; background: var(--block-background-fill); }
.octavo-tiles dd { font-size: 1.6rem; font-weight: 600; line-height: 1.3; }
.octavo-strip { display: flex; height: 1.25rem; border-radius: var(--radius-sm); overflow: hidden;
  background: var(--background-fill-secondary); }
.octavo-strip span { min-width: 2px; flex-basis: 0; }
.octavo-used { background: var(--primary-600); }
.octavo-cached { background: repeating-linear-gradient(135deg, var(--primary-300) 0 4px,
  var(--primary-200) 4px 8px); }
.octavo-free { background: var(--border-color-primary); }
.octavo-legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none;
  padding: 0; margin: .5rem 0 0; }
.octavo-legend li { margin: 0; }
.octavo-legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px;
  margin-right: .4rem; }
.octavo-plots { display: grid; gap: .75rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.octavo-plots figcaption, .octavo-plots p { display: flex; justify-content: space-between;
  margin: 0; }
.octavo-plots figcaption b { font-size: 1.25rem; }
.octavo-sparkline { display: block; width: 100%; height: 4.5rem; margin: .25rem 0;
  border-bottom: 1px solid var(--border-color-primary); }
.octavo-sparkline polyline { fill: none; stroke: var(--primary-500); stroke-width: 1.5;
  vector-effect: non-scaling-stroke; }
.octavo-sparkline polygon { fill: var(--primary-500); opacity: .15; }
.octavo-hits > div { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem;
  padding: .35rem 0; border-bottom: 1px solid var(--border-color-primary); }
.octavo-hits dd { display: flex; align-items: center; gap: .6rem; }
.octavo-hits meter { width: 6rem; height: .6rem; }
.octavo-hits meter::-webkit-meter-bar { background: var(--border-color-primary); border: 0; }
.octavo-hits meter::-webkit-meter-optimum-value { background: var(--primary-500); }
.octavo-hits meter::-moz-meter-bar { background: var(--primary-500); }
.octavo-hits small { min-width: 9rem; text-align: right; }
.octavo-facts { display: grid; gap: .5rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.octavo-facts dd { overflow-wrap: anywhere; font-weight: 600; }
.octavo-engine summary { cursor: pointer; font-weight: 600; }
.octavo-engine details table { width: 100%; margin-top: .5rem; border-collapse: collapse;
  font-size: var(--text-sm); border: 0 !important; }
.octavo-engine :is(tr, th, td) { border: 0 !important; }
.octavo-engine :is(th, td) { text-align: left; vertical-align: top; font-weight: 400;
  padding: .3rem .75rem .3rem 0 !important; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--border-color-primary) !important; }
.octavo-engine thead th { color: var(--body-text-color-subdued); }
"""
