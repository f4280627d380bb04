// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/view.h"

#include <QEvent>
#include <QFile>
#include <QFileInfo>
#include <QHeaderView>
#include <QImage>
#include <QPainter>
#include <QPdfWriter>
#include <QShowEvent>
#include <QSvgGenerator>
#include <QTimer>
#include <QVBoxLayout>
#include <utility>

#include "gui/theme.h"
#include "sim/base/error.h"
#include "sim/base/json.h"

namespace moesim::gui {
namespace {

constexpr int kVeilDelayMs = 250;  // quicker answers would only flicker
constexpr double kExportScale = 2;

}  // namespace

Canvas::Canvas(QWidget* parent) : QWidget(parent) {
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAttribute(Qt::WA_OpaquePaintEvent);
}

void Canvas::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.fillRect(rect(), theme().panel);
  painter.setFont(font());
  draw(painter, QSizeF(size()));
  if (hasFocus()) {
    painter.setPen(QPen(theme().accent, 1.5));
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(QRectF(rect()).adjusted(1, 1, -1.5, -1.5));
  }
}

Veil::Veil(QWidget* parent) : QWidget(parent) {
  setAttribute(Qt::WA_TransparentForMouseEvents);
  parent->installEventFilter(this);
  hide();
}

void Veil::setText(const QString& text) {
  text_ = text;
  setVisible(!text.isEmpty());
  if (!text.isEmpty()) {
    setGeometry(parentWidget()->rect());
    raise();
    update();
  }
}

void Veil::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  QColor cover = theme().panel;
  cover.setAlpha(150);
  painter.fillRect(rect(), cover);
  painter.setPen(theme().text);
  QFont large = font();
  large.setPointSizeF(large.pointSizeF() + 2);
  painter.setFont(large);
  painter.drawText(rect(), Qt::AlignCenter, text_);
}

bool Veil::eventFilter(QObject* watched, QEvent* event) {
  if (event->type() == QEvent::Resize) {
    setGeometry(parentWidget()->rect());
  }
  return QWidget::eventFilter(watched, event);
}

View::View(Workbench& workbench, QString title, QString question, QWidget* parent)
    : QWidget(parent), workbench_(workbench), title_(std::move(title)) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(12, 8, 12, 8);
  layout->setSpacing(6);
  auto* head = new QHBoxLayout;
  auto* heading = new QLabel(title_);
  heading->setObjectName("viewTitle");
  head->addWidget(heading);
  auto* asked = new QLabel(question);
  asked->setObjectName("muted");
  asked->setWordWrap(true);
  head->addWidget(asked, 1);
  tableButton_ = new QToolButton;
  tableButton_->setText(tr("Table"));
  tableButton_->setCheckable(true);
  tableButton_->setToolTip(tr("The same data as a table (Ctrl+T)"));
  tableButton_->setAccessibleName(tr("Show %1 as a table").arg(title_));
  head->addWidget(tableButton_);
  layout->addLayout(head);
  controls_ = new QHBoxLayout;
  controls_->setSpacing(8);
  layout->addLayout(controls_);
  stack_ = new QStackedWidget;
  layout->addWidget(stack_, 1);
  note_ = new QLabel;
  note_->setObjectName("muted");
  note_->setWordWrap(true);
  note_->hide();
  layout->addWidget(note_);
  tableView_ = new QTableView;
  tableView_->setModel(&table_);
  tableView_->setAlternatingRowColors(true);
  tableView_->setAccessibleName(tr("%1, as a table").arg(title_));
  tableView_->horizontalHeader()->setStretchLastSection(true);
  tableView_->horizontalHeader()->setDefaultSectionSize(150);
  tableView_->verticalHeader()->setDefaultSectionSize(24);
  tableView_->setTabKeyNavigation(false);
  veil_ = new Veil(stack_);
  veilTimer_ = new QTimer(this);
  veilTimer_->setSingleShot(true);
  veilTimer_->setInterval(kVeilDelayMs);
  setAccessibleName(title_);
  connect(tableButton_, &QToolButton::toggled, this, &View::setTableShown);
  connect(veilTimer_, &QTimer::timeout, this, &View::updateVeil);
  connect(&workbench_, &Workbench::specChanged, this, [this] {
    if (isVisible() && !veilTimer_->isActive() && !veil_->isVisible()) {
      veilTimer_->start();
    }
  });
  connect(&workbench_, &Workbench::problemsChanged, this, &View::updateVeil);
  connect(&workbench_, &Workbench::settled, this, &View::updateVeil);
}

bool View::isTableShown() const { return stack_->currentWidget() == tableView_; }

void View::setTableShown(bool shown) {
  if (stack_->indexOf(tableView_) < 0) {
    stack_->addWidget(tableView_);
  }
  stack_->setCurrentWidget(shown ? static_cast<QWidget*>(tableView_) : picture_);
  tableButton_->setChecked(shown);
  veil_->raise();
}

void View::setPicture(QWidget* picture) {
  picture_ = picture;
  stack_->addWidget(picture);
  stack_->setCurrentWidget(picture);
  stack_->addWidget(tableView_);
}

void View::setNote(const QString& note) {
  note_->setText(note);
  note_->setVisible(!note.isEmpty());
}

void View::refreshIfVisible() {
  if (!isVisible()) {
    isOutdated_ = true;
    return;
  }
  isOutdated_ = false;
  refresh();
  updateVeil();
}

void View::recolour() {
  if (isVisible()) {
    redraw();
  } else {
    isOffColour_ = true;
  }
}

void View::showEvent(QShowEvent* event) {
  QWidget::showEvent(event);
  if (std::exchange(isOffColour_, false)) {
    redraw();
  }
  if (isOutdated_) {
    refreshIfVisible();
  }
}

void View::updateVeil() {
  const std::uint64_t shown = shownNumber();
  const bool isStale = shown != 0 && shown != workbench_.number();
  if (isStale && !workbench_.problems().empty()) {
    veil_->setText(tr("no answer for this scenario"));
  } else if (isStale && workbench_.isBusy()) {
    if (!veilTimer_->isActive()) {
      veil_->setText(tr("computing…"));
    }
  } else {
    veilTimer_->stop();
    veil_->setText({});
  }
}

void View::paintPicture(QPainter& painter, const QSizeF& size) {
  if (auto* canvas = qobject_cast<Canvas*>(picture_)) {
    painter.fillRect(QRectF(QPointF(), size), theme().panel);
    canvas->draw(painter, size);
  } else {
    picture_->render(&painter);
  }
}

void View::exportTo(const QString& path) {
  const QString suffix = QFileInfo(path).suffix().toLower();
  const QSizeF size = picture_->size();
  const std::string name = path.toStdString();
  if (suffix == "csv") {
    write_text_file(name, csvText(table_).toStdString());
  } else if (suffix == "png") {
    QImage image((size * kExportScale).toSize(), QImage::Format_ARGB32_Premultiplied);
    image.setDevicePixelRatio(kExportScale);
    image.fill(theme().panel);
    QPainter painter(&image);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setFont(font());
    paintPicture(painter, size);
    painter.end();
    if (!image.save(path, "PNG")) {
      throw InputError(name, "", "cannot be written", "name a folder that may be written");
    }
  } else if (suffix == "svg") {
    QSvgGenerator svg;
    svg.setFileName(path);
    svg.setSize(size.toSize());
    svg.setViewBox(QRectF(QPointF(), size));
    svg.setTitle(title_);
    QPainter painter;
    if (!painter.begin(&svg)) {
      throw InputError(name, "", "cannot be written", "name a folder that may be written");
    }
    painter.setFont(font());
    paintPicture(painter, size);
  } else if (suffix == "pdf") {
    QPdfWriter pdf(path);
    pdf.setPageSize(QPageSize(size * 0.75, QPageSize::Point));  // 96 dots an inch on screens
    pdf.setPageMargins(QMarginsF());
    pdf.setResolution(96);  // as the screen: fonts in points keep their size beside lines
    pdf.setTitle(title_);
    QPainter painter;
    if (!painter.begin(&pdf)) {
      throw InputError(name, "", "cannot be written", "name a folder that may be written");
    }
    painter.setFont(font());
    paintPicture(painter, size);
  } else {
    throw InputError(name, "", "\"" + suffix.toStdString() + "\" is no format of a picture",
                     "end the name in .png, .svg, .pdf or .csv");
  }
}

}  // namespace moesim::gui
