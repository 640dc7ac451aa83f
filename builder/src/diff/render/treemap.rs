//! A treemap: rectangles whose areas are the bytes of what they stand for, squarified, so that none
//! is a thin strip (Bruls, Huizing, van Wijk: "Squarified Treemaps", 2000).

/// A place in the map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rectangle {
    fn shorter(&self) -> f64 {
        self.width.min(self.height)
    }

    /// The same without a margin on all sides, and `top` more above; nothing smaller than nothing.
    pub(super) fn inner(&self, margin: f64, top: f64) -> Self {
        Self {
            x: self.x + margin,
            y: self.y + margin + top,
            width: (self.width - 2.0 * margin).max(0.0),
            height: (self.height - 2.0 * margin - top).max(0.0),
        }
    }
}

/// A rectangle for each size, in their order. Sizes descend; their sum fills the place.
pub(super) fn squarify(sizes: &[u64], place: Rectangle) -> Vec<Rectangle> {
    let total = sizes.iter().map(|size| *size as f64).sum::<f64>();
    let scale = if total > 0.0 { place.width * place.height / total } else { 0.0 };
    let areas: Vec<f64> = sizes.iter().map(|size| *size as f64 * scale).collect();
    let mut rest = place;
    let mut placed = Vec::new();
    let mut start = 0;
    while start < areas.len() {
        let mut end = start + 1;
        // As long as the worst of a row gets no thinner, one more fits into it.
        while end < areas.len()
            && worst(&areas[start..=end], rest.shorter())
                <= worst(&areas[start..end], rest.shorter())
        {
            end += 1;
        }
        rest = row(&areas[start..end], rest, &mut placed);
        start = end;
    }
    placed
}

/// How much longer than wide the thinnest of a row is, along a side of this length.
fn worst(areas: &[f64], side: f64) -> f64 {
    let sum = areas.iter().sum::<f64>();
    if sum <= 0.0 || side <= 0.0 {
        return f64::INFINITY;
    }
    let ratio = |area: &f64| {
        let (one, other) = (side * side * area / (sum * sum), sum * sum / (side * side * area));
        one.max(other)
    };
    areas.iter().map(ratio).fold(0.0, f64::max)
}

/// Places a row along the shorter side, and gives what is left.
fn row(areas: &[f64], place: Rectangle, placed: &mut Vec<Rectangle>) -> Rectangle {
    let Rectangle { x, y, width, height } = place;
    let sum = areas.iter().sum::<f64>();
    let side = place.shorter();
    let depth = if side > 0.0 { sum / side } else { 0.0 };
    let upright = width >= height;
    let mut at = 0.0;
    for area in areas {
        let length = if depth > 0.0 { area / depth } else { 0.0 };
        placed.push(if upright {
            Rectangle { x, y: y + at, width: depth, height: length }
        } else {
            Rectangle { x: x + at, y, width: length, height: depth }
        });
        at += length;
    }
    if upright {
        Rectangle { x: x + depth, width: (width - depth).max(0.0), ..place }
    } else {
        Rectangle { y: y + depth, height: (height - depth).max(0.0), ..place }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: Rectangle = Rectangle { x: 0.0, y: 0.0, width: 6.0, height: 4.0 };

    #[test]
    fn the_example_of_the_paper_is_laid_out_as_there() {
        let placed = squarify(&[6, 6, 4, 3, 2, 2, 1], PLACE);
        assert_eq!(placed[0], Rectangle { x: 0.0, y: 0.0, width: 3.0, height: 2.0 });
        assert_eq!(placed[1], Rectangle { x: 0.0, y: 2.0, width: 3.0, height: 2.0 });
        assert_eq!((placed[2].x, placed[2].y), (3.0, 0.0));
        assert!((placed[2].height - 7.0 / 3.0).abs() < 1e-9, "{:?}", placed[2]);
    }

    proptest! {
        #[test]
        fn areas_are_sizes_and_all_lie_inside(
            mut sizes in prop::collection::vec(0_u64..1_000_000_000, 0..60),
        ) {
            sizes.sort_unstable_by(|one, other| other.cmp(one));
            let placed = squarify(&sizes, PLACE);
            prop_assert_eq!(placed.len(), sizes.len());
            let total = sizes.iter().sum::<u64>().max(1) as f64;
            for (size, one) in sizes.iter().zip(&placed) {
                let area = one.width * one.height;
                prop_assert!((area - *size as f64 / total * 24.0).abs() < 1e-6);
                prop_assert!(one.x >= 0.0 && one.x + one.width < 6.0 + 1e-6);
                prop_assert!(one.y >= 0.0 && one.y + one.height < 4.0 + 1e-6);
            }
        }
    }
}
